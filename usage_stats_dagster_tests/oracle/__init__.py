"""The rules once more, row by row in plain Python, and little worlds over which both must agree.

What belongs here: worlds (what was logged), deliveries (how it arrived), the oracle, and the comparison. Nothing here
imports how the package computes: the oracle was written from the design, COUNTER's text and Matomo's semantics alone.
"""
