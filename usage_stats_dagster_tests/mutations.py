"""Breaks each rule once, by hand, and shows which tests notice: `make mutations`.

What belongs here: the mutations, as text that stands exactly once in a file of the package, and running the tests over a
copy of the package that has it replaced. What does not: the tests. A mutation whose text is gone, or stands twice, is an
error: then the rule has moved, and the mutation has to follow it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
PACKAGE, TESTS = "usage_stats_dagster", "usage_stats_dagster_tests"
ORACLE = f"{TESTS}/oracle"
SHOWN = 3


@dataclass(frozen=True)
class Mutation:
    """A rule broken: `old` becomes `new` in `file` (below the package); `tests` are files beside the oracle's."""

    rule: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = ()


MUTATIONS = (
    Mutation("double click 30 s -> 29 s", "settings.py", "double_click_seconds: int = Field(30,", "double_click_seconds: int = Field(29,", ("metrics/test_counter.py",)),
    Mutation("double click: up to 30 s -> below 30 s", "metrics/double_click.py", ") <= timedelta(seconds=seconds)", ") < timedelta(seconds=seconds)", ("metrics/test_counter.py", "metrics/test_properties.py")),
    Mutation("double click keeps the earlier click, not the later", "metrics/double_click.py", '''shift(-1).over(*user_and_url, order_by=ORDER)
    soon = several.with_columns(following=following).filter(
        (c("following") - c("server_time"))''', '''shift(1).over(*user_and_url, order_by=ORDER)
    soon = several.with_columns(following=following).filter(
        (c("server_time") - c("following"))''', ("metrics/test_counter.py",)),
    Mutation("double click by item, not by URL", "metrics/double_click.py", '("idvisitor", "action_url", "action_type")', '("idvisitor", "identifier", "action_type")', ("metrics/test_counter.py",)),
    Mutation("double clicks don't reach over midnight", "pipeline/figures.py", 'pl.col("server_time") <= end)', 'pl.col("server_time") < ws.settings.day_start(after))', ("pipeline/test_golden.py",)),
    Mutation("a changed next day leaves the day as it was", "pipeline/status.py", 'and row["done_tail_hash"] == tail', "and tail is not None", ("pipeline/test_golden.py", "pipeline/test_pure.py")),
    Mutation("a visit ends after 1,799 s, not 1,800 s", "settings.py", "visit_seconds: int = Field(1800,", "visit_seconds: int = Field(1799,", ("tracker/test_sessions.py",)),
    Mutation("a gap of exactly 1,800 s stays in the visit", "tracker/sessions.py", '(c("second") - c("before")) < visit_seconds', '(c("second") - c("before")) <= visit_seconds', ("tracker/test_sessions.py",)),
    Mutation("the day is UTC's, not the platform's", "logs/parse.py", 'if zone == "UTC" else', "if zone else", ("logs/test_read.py",)),
    Mutation("session hour in UTC, not in the platform's zone", "metrics/sessions.py", "local = moment + _offset(start, zone)", "local = moment", ("metrics/test_properties.py",)),
    Mutation("session hour misses switched clocks", "metrics/sessions.py", "if _offset(before, zone) != _offset(after, zone):", "if False:", ("metrics/test_properties.py",)),
    Mutation("a session is a day, not an hour", "metrics/sessions.py", 'truncate("1h")', 'truncate("1d")', ("metrics/test_counter.py",)),
    Mutation("no tiebreak by content within a second", "tracker/sessions.py", 'ORDER = ("t", "tie", "idlink_va")', 'ORDER = ("t", "idlink_va")', ("tracker/test_sessions.py", "tracker/test_site_day.py")),
    Mutation("an outcome is dropped: lines without a date", "logs/judge.py", 'group_by(*keys, "day", "outcome").agg(pl.len()', 'filter(pl.col("day").is_not_null()).group_by(*keys, "day", "outcome").agg(pl.len()', ("logs/test_read.py",)),
    Mutation("304 is a redirect", "logs/outcomes.py", " & (status != 304)", "", ("logs/test_read.py",)),
    Mutation("static before excluded", "logs/outcomes.py", ".when(\"excluded\")\n        .then(_is(\"excluded\"))", ".when(\"static\")\n        .then(_is(\"static\"))\n        .when(\"excluded\")\n        .then(_is(\"excluded\"))", ("logs/test_read.py",)),
    Mutation("spam referrers are hits", "logs/outcomes.py", 'pl.when(pl.col("spam").fill_null(value=False))', "pl.when(pl.lit(value=False))", ("logs/test_read.py",)),
    Mutation("the first day is outside", "logs/outcomes.py", 'pl.col("day") < start', 'pl.col("day") <= start', ("logs/test_read.py",)),
    Mutation("robots after behaviour", "settings.py", 'steps: tuple[Step, ...] = ("robots", "behaviour",', 'steps: tuple[Step, ...] = ("behaviour", "robots",'),
    Mutation("robots by list stay", "metrics/steps.py", '"robots", ~c("robot").is_null()', '"robots", c("robot") == "nobody"', ("metrics/test_lareferencia.py",)),
    Mutation("behaviour: 2 s an action stay", "metrics/steps.py", "hasty = seconds <= actions", "hasty = seconds < actions", ("metrics/test_properties.py",)),
    Mutation("behaviour: 10 actions are many", "metrics/steps.py", "(actions > rules.behaviour_few_actions)", "(actions >= rules.behaviour_few_actions)", ("metrics/test_properties.py",)),
    Mutation("behaviour: 100 actions are not too many", "metrics/steps.py", "(actions >= rules.behaviour_many_actions)", "(actions > rules.behaviour_many_actions)", ("metrics/test_properties.py",)),
    Mutation("a visit's time without the 1 s", "tracker/visits.py", '1 + c("last_second")', 'c("last_second")', ("tracker/test_site_day.py", "tracker/test_sessions.py")),
    Mutation("thumbnails are content", "metrics/steps.py", '.str.contains(rules.assets)', '.str.contains("nothing at all")', ("metrics/test_lareferencia.py",)),
    Mutation("COUNTER counts HEAD", "settings.py", 'delivered_methods: tuple[str, ...] = ("GET",)', 'delivered_methods: tuple[str, ...] = ("GET", "HEAD")', ("metrics/test_counter.py",)),
    Mutation("COUNTER counts 206", "settings.py", "(200, 304)", "(200, 206, 304)", ("metrics/test_counter.py",)),
    Mutation("a request is no investigation", "metrics/aggregate.py", 'kept.with_columns(hour=hour, one=nw.lit(1),', 'kept.with_columns(hour=hour, one=_one(c("kind") != DOWNLOAD),', ("metrics/test_counter.py",)),
    Mutation("uniques by visit's item without the session", "metrics/aggregate.py", '.group_by(*keys, "idvisitor", "hour", "identifier")', '.group_by(*keys, "idvisitor", "identifier")', ("metrics/test_counter.py",)),
    Mutation("a conversion needs no view", "metrics/aggregate.py", 'conversions=_one((c("views") == 1) & left)', "conversions=_one(left)", ("metrics/test_lareferencia.py",)),
    Mutation("campaigns split no visit", "tracker/sessions.py", "nw.when(other & ~campaign.is_null())", "nw.when(other & campaign.is_null() & ~campaign.is_null())", ("tracker/test_sessions.py",)),
    Mutation("a campaign splits direct visits too", "tracker/sessions.py", '((c("came") == _NO_CAMPAIGN) & (c("led") == 1))', '(c("came") == _NO_CAMPAIGN)', ("tracker/test_sessions.py",)),
    Mutation("a visit's last referrer, not its first", "tracker/visits.py", 'keep="first", order_by=ORDER', 'keep="last", order_by=ORDER', ("tracker/test_site_day.py",)),
    Mutation("a month's documents lie in January", "pipeline/documents.py", "day.replace(day=1) if month else day", "day.replace(month=1, day=1) if month else day"),
    Mutation("a document that is made alone is dated in January", "documents/build.py", 'else day.replace(day=1)', "else day.replace(month=1, day=1)", ("documents/test_documents.py",)),
    Mutation("a monthly document has its last day only", "pipeline/documents.py", "ws.lake.days_of_month(METRICS_TABLE, idsite, first) if", "ws.lake.days_of_month(METRICS_TABLE, idsite, first)[-1:] if"),
    Mutation("the country of items is unknown", "documents/build.py", "return regional.fill_null(UNKNOWN_COUNTRY)", "return pl.lit(UNKNOWN_COUNTRY)", ("documents/test_documents.py",)),
    Mutation("visitors' countries are not told apart", "metrics/aggregate.py", 'country=c("location_country").fill_null(NO_COUNTRY)', 'country=c("location_country").max().fill_null(NO_COUNTRY)', ("metrics/test_lareferencia.py",)),
    Mutation("identifiers are not mapped (site-days made together)", "tracker/batch.py", "map_identifiers(items[\"identifier\"], site.identifier_map)", "map_identifiers(items[\"identifier\"], None)"),
    Mutation("identifiers are not mapped (a large site-day)", "tracker/prepare.py", "identifier, _ = map_identifiers(items[\"identifier\"], site.identifier_map)", "identifier, _ = map_identifiers(items[\"identifier\"], None)", ("pipeline/test_golden.py",)),
    Mutation("a visitor is an address", "logs/hits.py", 'pl.lit(key.hex()), pl.col("ip").fill_null(""), pl.lit("\\0"), pl.col("user_agent").fill_null("")', 'pl.lit(key.hex()), pl.col("ip").fill_null("")', ("logs/test_read.py",)),
    Mutation("a short log that grew is another log", "pipeline/one_log.py", "    short = ws.ledger.provisional(idsite, HEAD_BYTES)", "    short = ws.ledger.provisional(idsite, 0)", ("pipeline/test_pure.py",)),
    Mutation("a copy counts again", "pipeline/one_log.py", "    known = _lineage(ws, f.idsite, head)\n    site", "    known = None\n    site", ("pipeline/test_pure.py",)),
    Mutation("a log that goes on as another of its batch is taken for a new one", "pipeline/small_logs.py", "if any(is_related(logs[k], heads[k], logs[i], heads[i]) for i in range(done, k))", "if False", ("pipeline/test_imported_together.py",)),
    Mutation("a large log that goes on as the one before it is begun ahead", "pipeline/large_logs.py", " or is_related(due.found, due.head.data, f, head_of(f))", "", ("pipeline/test_imported_together.py",)),
    Mutation("a large log is begun ahead while one that is known comes to its end", "pipeline/large_logs.py", "due.known is not None or ", "", ("pipeline/test_imported_together.py",)),
    Mutation("lines behind one too long are one line at a log's end", "logs/blocks.py", "                end = len(rest) + read\n", "                if not read:\n                    break\n                end = len(rest) + read\n", ("logs/test_blocks.py",)),
    Mutation("two logs of a batch go on where the same one ended", "pipeline/small_logs.py", 'if b.known["id"] in known:', "if False:", ("pipeline/test_imported_together.py",)),
    Mutation("logs judged together: hits keep the line of the batch", "logs/judge.py", 'pl.Series("line", own)', 'pl.Series("line", line)', ("pipeline/test_imported_together.py",)),
    Mutation("logs judged together have one log's settings", "pipeline/small_logs.py", "parts.setdefault((b.version, alone[1].name)", 'parts.setdefault(("", alone[1].name)', ("pipeline/test_imported_together.py",)),
    Mutation("double clicks over sites made together", "metrics/double_click.py", "user_and_url = (*keys, *USER_AND_URL)", "user_and_url = USER_AND_URL"),
    Mutation("the index keeps documents that the day no longer has", "index/embedded.py", "[(d,) for d in documents])", "[(d,) for d in documents[:0]])", ("index/test_replace.py",)),
    Mutation("sums by country stay when a date's documents change", "index/embedded.py", 'for table in ("sums", "sums_by_country"):', 'for table in ("sums",):', ("index/test_questions.py", "index/test_replace.py")),
    Mutation("a visit may have any number of actions", "tracker/sessions.py", "MAX_ACTIONS = 10_000", "MAX_ACTIONS = 10_001", ("tracker/test_sessions.py",)),
    Mutation("the next page of a result is a search", "tracker/prepare.py", 'pl.when(known).then(pl.lit(NO_ACT))', "pl.lit(None, pl.String)", ("items/test_match.py",)),
    Mutation("a log's last half line is a line", "logs/blocks.py", "if not self._whole_lines_only and self.damaged is None:\n            self._take(rest)", "if self.damaged is None:\n            self._take(rest)", ("pipeline/test_pure.py",)),
    Mutation("a grown log adds to what it had", "ledger/ledger.py", "        if old:\n            for table", "        if not old:\n            for table", ("pipeline/test_pure.py",)),
)  # fmt: skip


def main(wanted: list[str]) -> int:
    """Runs the mutations whose rule holds one of the words given (all without words); 1 if one survives."""
    chosen = [m for m in MUTATIONS if not wanted or any(w.lower() in m.rule.lower() for w in wanted)]
    stands = {m: (HERE / PACKAGE / m.file).read_text().count(m.old) for m in chosen}
    if any(n != 1 for n in stands.values()):
        for m in (m for m, n in stands.items() if n != 1):
            print(f"{m.rule}: its text stands {stands[m]} times in {m.file}, must stand once", file=sys.stderr)
        return 2
    survived = 0
    with tempfile.TemporaryDirectory(prefix="mutations-") as base:
        root = Path(base)
        for folder in (PACKAGE, TESTS):
            shutil.copytree(HERE / folder, root / folder)
        shutil.copy(HERE / "pyproject.toml", root)
        for n, m in enumerate(chosen, 1):
            start = time.monotonic()
            found = _caught(root, m)
            survived += not found
            names = ", ".join([*found[:SHOWN], *(["…"] if len(found) > SHOWN else [])])
            verdict = "caught" if found else "SURVIVED"
            print(
                f"{n:>3}/{len(chosen)}  {verdict:<8}  {m.rule:<55}  {time.monotonic() - start:>4.0f} s  {names}",
                flush=True,
            )
    print(f"{len(chosen) - survived} of {len(chosen)} caught")
    return 1 if survived else 0


def _caught(root: Path, m: Mutation) -> list[str]:
    """The tests that fail under the mutation: the oracle's first; if it is blind, the others named."""
    file = root / PACKAGE / m.file
    original = file.read_text()
    file.write_text(original.replace(m.old, m.new))
    try:
        return _failing(root, [ORACLE]) or (_failing(root, [f"{TESTS}/{t}" for t in m.tests]) if m.tests else [])
    finally:
        file.write_text(original)


def _failing(root: Path, tests: list[str]) -> list[str]:
    first = ["-x"] if tests == [ORACLE] else []
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        *first,
        "--tb=no",
        "-p",
        "no:cacheprovider",
        "--hypothesis-profile=mutations",
        *tests,
    ]
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        sys.exit(f"pytest stopped with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return [f.removeprefix(f"{TESTS}/") for f in re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
