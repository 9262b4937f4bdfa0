"""Early warnings: what looks wrong with the days' usage, before a reader of the figures sees it.

What belongs here: the rules, as functions over tables, and gathering those tables from ledger and lake. What does not:
sums that must close (the stages' blocking checks), rules that changed (`pipeline/stale.py`). A warning never stops a run
and never cuts a figure: it asks a person to look.
"""
