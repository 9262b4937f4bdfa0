"""Robots by list: COUNTER's (R5.1 section 7.8), crawler-user-agents, and the operator's own patterns.

What belongs here: which user agents the lists call robots, and by which pattern. What does not: robots by behaviour
(`metrics/`), and what is done with a robot's hits.

COUNTER's patterns are regexes to be searched case-insensitively. Ten in eleven are plain text: those are searched all
at once (Aho-Corasick); for the others one alternation tells which agents are worth a look, pattern by pattern.
"""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from importlib.metadata import version as release
from importlib.resources import files

import orjson
import polars as pl

from usage_stats_dagster.lookups.distinct import listed
from usage_stats_dagster.lookups.remembered import Remembered
from usage_stats_dagster.settings import RulesSection

_PLAIN = re.compile(r"(?:[^\\^$.|?*+()\[\]{}]|\\[^A-Za-z0-9])+")
"""A pattern that is text, some of its characters escaped."""

_FEW = 20
"""Agents. To search for all texts at once takes 4 ms to prepare, to search for one after another 0.07 ms an agent."""


_PACKAGES = {"counter": "counter-robots", "crawler-user-agents": "crawler-user-agents"}


def _list_bytes(name: str) -> bytes:
    # Read as a file: importing crawleruseragents would parse the JSON with the slow standard module first.
    match name:
        case "counter":
            return files("counter_robots").joinpath("data/robot.txt").read_bytes()
        case "crawler-user-agents":
            return files("crawleruseragents").joinpath("crawler-user-agents.json").read_bytes()
        case _:
            msg = f"no such list of robots: {name!r}"
            raise ValueError(msg)


def list_patterns(name: str) -> list[str]:
    """The patterns of a list, in its order: `counter` or `crawler-user-agents`."""
    content = _list_bytes(name)
    if name == "counter":
        return [line for line in content.decode().splitlines() if line]
    return [entry["pattern"] for entry in orjson.loads(content)]


class _List:
    """Patterns in the order in which they are tried; `first` finds the first that an agent holds."""

    def __init__(self, named: list[tuple[str, str]]) -> None:
        self._reasons = [f"{name}: {pattern}" for name, pattern in named]
        plain: dict[str, int] = {}
        self._regexes: list[tuple[int, str]] = []
        for rank, (_, pattern) in enumerate(named):
            if pattern.isascii() and _PLAIN.fullmatch(pattern):
                plain.setdefault(re.sub(r"\\(.)", r"\1", pattern).lower(), rank)
            else:
                self._regexes.append((rank, pattern))
        plain = _needed(plain)
        self._plain = list(plain)
        self._plain_rank = pl.DataFrame(
            {"text": self._plain, "rank": list(plain.values())}, schema={"text": pl.String, "rank": pl.UInt32}
        )
        self._any_regex = "(?i)" + "|".join(f"(?:{p})" for _, p in self._regexes)
        self._ranked = [(text.encode(), rank) for text, rank in sorted(plain.items(), key=lambda p: p[1])]

    @cached_property
    def _compiled(self) -> list[tuple[int, re.Pattern[str]]]:
        return [(rank, re.compile(pattern, re.IGNORECASE)) for rank, pattern in self._regexes]

    def _plain_ranks(self, agents: pl.Series) -> list[int | None]:
        if len(agents) < _FEW:
            lower = [a.encode().lower() for a in agents.to_list()]
            return [next((rank for text, rank in self._ranked if text in a), None) for a in lower]
        ranks: list[int | None] = [None] * len(agents)
        if self._plain:
            found = (
                pl.DataFrame(
                    {"text": agents.str.extract_many(self._plain, ascii_case_insensitive=True, overlapping=True)}
                )
                .with_row_index("agent")
                .filter(pl.col("text").list.len() > 0)
                .explode("text")
                .with_columns(pl.col("text").str.to_lowercase())
                .join(self._plain_rank, on="text")
                .group_by("agent")
                .agg(pl.col("rank").min())
            )
            for agent, rank in found.iter_rows():
                ranks[agent] = rank
        return ranks

    def first(self, agents: list[str]) -> list[str | None]:
        column = pl.Series(agents, dtype=pl.String)
        ranks = self._plain_ranks(column)
        if self._regexes:
            for i in column.str.contains(self._any_regex).arg_true().to_list():
                below = ranks[i]
                for rank, regex in self._compiled:
                    if below is not None and rank > below:
                        break
                    if regex.search(agents[i]):
                        ranks[i] = rank
                        break
        return [None if r is None else self._reasons[r] for r in ranks]


def _needed(plain: dict[str, int]) -> dict[str, int]:
    """Text and rank without those that hold a text of lower rank: wherever they are found, that one is found first."""
    if not plain:
        return plain
    within = pl.Series(list(plain)).str.extract_many(list(plain), overlapping=True).to_list()
    return {
        text: rank
        for (text, rank), found in zip(plain.items(), within, strict=True)
        if rank == min(plain[f] for f in found)
    }


class Robots:
    """Says of user agents which pattern makes them robots. Lists are read on first use, verdicts remembered.

    `rules.robots` names the lists and their order, `rules.robots_extra` adds patterns after them, and an agent that
    holds a pattern of `rules.robots_allow` is never a robot.
    """

    def __init__(self, rules: RulesSection) -> None:
        self._rules = rules
        self._remembered = Remembered(listed(self._judge))

    @cached_property
    def lists(self) -> dict[str, str]:
        """Each list's name, and the release and content (8 hexadecimal digits) that it is of."""
        found: dict[str, str] = {}
        for name in self._rules.robots:
            content = hashlib.sha256(_list_bytes(name)).hexdigest()[:8]
            found[name] = f"{release(_PACKAGES[name])} ({content})"
        return found

    @cached_property
    def version(self) -> str:
        """16 hexadecimal digits over the lists' content and the operator's patterns."""
        digest = hashlib.sha256()
        for name in self._rules.robots:
            digest.update(name.encode() + b"\0" + hashlib.sha256(_list_bytes(name)).digest())
        digest.update(orjson.dumps([self._rules.robots_extra, self._rules.robots_allow]))
        return digest.hexdigest()[:16]

    def __call__(self, user_agents: pl.Series) -> pl.Series:
        """`list: pattern` of the first pattern found, per row; null for a human, and for null (a format without agents).

        An empty agent or `-` is a robot by COUNTER's `^.?$`.
        """
        return self._remembered(user_agents)

    @cached_property
    def _patterns(self) -> _List:
        return _List([(name, p) for name in self._rules.robots for p in list_patterns(name)])

    @cached_property
    def _allow(self) -> re.Pattern[str] | None:
        return _any_of(self._rules.robots_allow)

    def _judge(self, agents: list[str]) -> list[str | None]:
        reasons = self._patterns.first(agents)
        # The operator's patterns are Python's regexes, so Python searches them: they are few.
        for pattern in self._rules.robots_extra:
            search = re.compile(pattern, re.IGNORECASE).search
            for i, agent in enumerate(agents):
                if reasons[i] is None and search(agent):
                    reasons[i] = f"extra: {pattern}"
        if self._allow is not None:
            search = self._allow.search
            reasons = [None if r and search(a) else r for a, r in zip(agents, reasons, strict=True)]
        return reasons


def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(f"(?:{p})" for p in patterns), re.IGNORECASE) if patterns else None
