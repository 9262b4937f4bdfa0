"""The named steps: which events count, and by which rule each of the others does not.

What belongs here: one function a step, that marks; the order in which they are applied; the names. What does not: how
robots are recognised (`logs/`, stored with each event), how figures are added up (`aggregate.py`).

A step marks instead of dropping, so that every event has at most one reason per vocabulary (the first step that
matches) and the sum closes: events = kept + the events of each reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import narwhals as nw

from usage_stats_dagster import engine
from usage_stats_dagster.engine import Frame
from usage_stats_dagster.metrics.double_click import followed
from usage_stats_dagster.settings import RulesSection

StepFunction: TypeAlias = Callable[[Frame, RulesSection], Frame]

LAREFERENCIA = "lareferencia"
COUNTER = "counter"
VOCABULARIES = (LAREFERENCIA, COUNTER)

KEPT = "kept"
VIEW, OUTLINK, DOWNLOAD, SEARCH, OTHER = 1, 2, 3, 8, 0
"""Kinds of events, numbered as Matomo numbers action types."""

c = nw.col


def reason_column(vocabulary: str) -> str:
    """The column that holds the code of an event's drop reason; 0 is kept."""
    return f"dropped_{vocabulary}"


def with_kind(events: Frame) -> Frame:
    """Adds `kind` (Int8), and no event dropped yet.

    The platform's rules decide (`item_action`); where there are none, as from Matomo, the type of the action does.
    """
    action = c("item_action").fill_null("")
    typed = c("action_type").fill_null(OTHER)
    kind = (
        # A result link such as /handle/1/2?query=x is a search to Matomo, an act on the item to the platform's rules;
        # the second page of a result is another search to Matomo, none to the rules.
        nw.when((action == "search") | ((typed == SEARCH) & (action == "")))
        .then(nw.lit(SEARCH))
        .when((typed == OUTLINK) | (action == "outlink"))
        .then(nw.lit(OUTLINK))
        .when(action == "request")
        .then(nw.lit(DOWNLOAD))
        .when((action == "investigation") | (typed == VIEW))
        .then(nw.lit(VIEW))
        .when(typed == DOWNLOAD)
        .then(nw.lit(DOWNLOAD))
        .otherwise(nw.lit(OTHER))
    )
    kept = {reason_column(v): nw.lit(0).cast(nw.Int8) for v in VOCABULARIES}
    # Matomo stores no URL with a search; where it is an act on an item, the item stands in for it.
    url = nw.coalesce(c("action_url"), c("identifier"))
    return events.with_columns(kind=kind.cast(nw.Int8), action_url=url, **kept)


def robots(events: Frame, rules: RulesSection) -> Frame:
    """Robots by list: the event carries the rule that said so (COUNTER R5.1 7.8)."""
    del rules
    return _mark(events, "robots", ~c("robot").is_null())


def behaviour(events: Frame, rules: RulesSection) -> Frame:
    """Robots by behaviour: visits of many actions (LA Referencia's rule).

    A visit stays with few actions, or with less than many if it spent more than the seconds an action:
    `visit_total_time / visit_total_actions`, compared in integers. An event whose visit is unknown stays.
    """
    actions, seconds = c("visit_total_actions"), c("visit_total_time")
    hasty = seconds <= actions * rules.behaviour_seconds_per_action
    matches = (actions > rules.behaviour_few_actions) & ((actions >= rules.behaviour_many_actions) | hasty)
    return _mark(events, "behaviour", matches.fill_null(value=False))


def assets(events: Frame, rules: RulesSection) -> Frame:
    """Files that come with a page and that nobody asked for, such as thumbnails: by a regex over the URL."""
    return _mark(events, "assets", c("action_url").cast(nw.String).str.contains(rules.assets).fill_null(value=False))


def unidentified(events: Frame, rules: RulesSection) -> Frame:
    """Content that is no item's; searches count for the platform and need no item."""
    del rules
    return _mark(events, "unidentified", c("identifier").is_null() & (c("kind") != SEARCH))


def not_delivered(events: Frame, rules: RulesSection) -> Frame:
    """Requests that gave the user nothing (COUNTER R5.1 7.1); a source without method or status, as Matomo, delivered."""
    method = ~c("http_method").is_in(list(rules.delivered_methods))
    status = ~c("http_status").is_in(list(rules.delivered_statuses))
    return _mark(events, "not_delivered", method.fill_null(value=False) | status.fill_null(value=False))


def double_click(events: Frame, rules: RulesSection, keys: Sequence[str] = ()) -> Frame:
    """Double clicks (COUNTER R5.1 7.2), among the events that the steps before have kept.

    Not on searches: the rule is for Total_Item metrics. The next day's first seconds (`in_tail`) take part. `keys`: as in `apply`.
    """
    events = _held(events)
    counts = (c(reason_column(COUNTER)) == 0) & (c("kind") != SEARCH) & ~c("action_url").is_null()
    earlier = followed(events.filter(counts), rules.double_click_seconds, keys)
    joined = events.join(earlier.with_columns(followed=nw.lit(value=True)), on=[*keys, "idlink_va"], how="left")
    return _mark(joined, "double_click", ~c("followed").is_null()).drop("followed")


STEPS: dict[str, StepFunction] = {
    "robots": robots,
    "behaviour": behaviour,
    "assets": assets,
    "unidentified": unidentified,
    "not_delivered": not_delivered,
    "double_click": double_click,
}
NAMES = (KEPT, *STEPS)
"""A reason's code is its place here."""

_COUNTER_ONLY = ("not_delivered", "double_click")


def vocabularies(step: str) -> tuple[str, ...]:
    """The vocabularies that a step can drop an event from: LA Referencia's counts double clicks and whatever was sent."""
    return (COUNTER,) if step in _COUNTER_ONLY else VOCABULARIES


def apply(events: Frame, rules: RulesSection, keys: Sequence[str] = ()) -> Frame:
    """Events (with `kind`, `in_tail`, `visit_total_actions`, `visit_total_time`) marked by the steps of the settings, in order.

    `keys`: columns that tell site-days apart where the frame holds several.
    """
    for name in rules.steps:
        events = double_click(events, rules, keys) if name == "double_click" else STEPS[name](events, rules)
    return events


def _mark(events: Frame, step: str, matches: nw.Expr) -> Frame:
    code = nw.lit(NAMES.index(step)).cast(nw.Int8)
    return events.with_columns(
        **{
            reason_column(v): nw.when(matches & (c(reason_column(v)) == 0)).then(code).otherwise(c(reason_column(v)))
            for v in vocabularies(step)
        }
    )


def _held(events: Frame) -> Frame:
    """The same rows; on Polars computed here, where a plan that uses them twice would compute them twice."""
    if events.implementation is nw.Implementation.POLARS:
        return engine.wrap(engine.collect(events).lazy())
    return events
