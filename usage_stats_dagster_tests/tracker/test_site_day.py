"""From hits to tables: what each URL becomes, and what the figures don't depend on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from usage_stats_dagster.schemas import EVENTS, HITS, VISITS
from usage_stats_dagster.settings import IdentifierMap, Settings, Site
from usage_stats_dagster.tracker.site_day import visits_and_events
from usage_stats_dagster_tests.tracker.matomo import World
from usage_stats_dagster_tests.tracker.ready import ready
from usage_stats_dagster_tests.tracker.worlds import DAY

SITE = Site(id=4, url="https://repo.example.org", platform="dspace", country="br")
MIDNIGHT = Settings().day_start(DAY)


def tables(hits: pl.DataFrame, site: Site = SITE) -> tuple[pl.DataFrame, pl.DataFrame]:
    of_day, said = ready(hits, site)
    return visits_and_events(of_day, DAY, site, Settings(), said)


def hits(*rows: dict[str, Any]) -> pl.DataFrame:
    """Hits of one visitor, a second apart, each with what it says instead of the default."""
    made = []
    for i, row in enumerate(rows):
        default = {
            "time": MIDNIGHT + timedelta(seconds=i), "visitor": 77, "tie": i, "location_ip": "192.0.0.0", "location_country": "pt",
            "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:134.0) Gecko/20100101 Firefox/134.0", "url": "/", "action_type": 1,
            "http_method": "GET", "http_status": 200, "log_identity": "ab" * 16, "line": i + 1,
        }  # fmt: skip
        made.append(default | row)
    return pl.DataFrame(made, schema=HITS.schema)


EVENT = ["action_type", "action_name", "action_url", "action_url_prefix", "identifier", "item_action"]


@pytest.mark.parametrize(
    ("hit", "expected"),
    [
        (
            {"url": "/handle/10/2?utm_source=mail"},
            (1, None, "repo.example.org/handle/10/2", 2, "oai:repo.example.org:10/2", "investigation"),
        ),
        (
            {"url": "/bitstream/10/2/1/a.pdf?sid=1", "action_type": 3},
            (
                3,
                None,
                "https://repo.example.org/bitstream/10/2/1/a.pdf?sid=1",
                None,
                "oai:repo.example.org:10/2",
                "request",
            ),
        ),
        ({"url": "/discover?query=a+b"}, (8, "a b", None, None, None, "search")),
        ({"url": "/x.pdf?q=a", "action_type": 3}, (3, None, "https://repo.example.org/x.pdf?q=a", None, None, None)),
        ({"url": "*", "http_method": "OPTIONS"}, (1, None, None, None, None, None)),
        ({"url": "/x", "host": "WWW.other.org"}, (1, None, "other.org/x", 3, None, None)),
    ],
)
def test_what_a_hit_becomes(hit: dict[str, Any], expected: tuple[Any, ...]) -> None:
    """Type, URL and item of an event: Matomo's for the first, the platform's rules for the second."""
    _, events = tables(hits(hit))
    assert events.select(EVENT).row(0) == expected
    assert events["country_item"].to_list() == ["BR"]


def test_identifiers_are_mapped() -> None:
    """The site's map has the last word on identifiers."""
    site = SITE.model_copy(update={"identifier_map": IdentifierMap(regex="^oai:[^:]+:", replace="hdl:")})
    _, events = tables(hits({"url": "/handle/10/2"}), site)
    assert events["identifier"].to_list() == ["hdl:10/2"]


def test_a_visit_comes_by_its_first_referrer() -> None:
    """Own pages are direct; the campaign of a landing URL goes before its referrer."""
    google = "https://www.google.com/"
    own = {"url_referrer": "https://repo.example.org/handle/10/2"}
    visits, _ = tables(hits(own, {"url_referrer": google}, {"url_referrer": "https://example.net/a"}))
    assert visits.select("referer_type", "referer_name").rows() == [(2, "Google")]
    visits, _ = tables(hits({"url": "/?utm_campaign=May", "url_referrer": google}))
    assert visits.select("referer_type", "referer_name").rows() == [(6, "may")]


def test_robots_stay_with_their_reason() -> None:
    """Robots have visits and events as all others; an agent of no name has no browser."""
    visits, events = tables(hits({"robot": "counter: bot", "user_agent": None}))
    assert visits.select("robot", "config_browser_name").rows() == [("counter: bot", None)]
    assert events["robot"].to_list() == ["counter: bot"]
    visits, _ = tables(hits({}))
    assert visits.select("robot", "config_browser_name", "idvisitor", "counted_here").rows() == [
        (None, "FF", f"{77:016x}", True)
    ]


def test_a_day_without_hits() -> None:
    """Both tables, empty."""
    visits, events = tables(HITS.empty())
    assert (visits.schema, events.schema, len(visits), len(events)) == (VISITS.schema, EVENTS.schema, 0, 0)


def test_rows_come_out_in_order_whatever_goes_in(world: World) -> None:
    """Hits in any order, or in ranges of visitors one behind the other, make the same tables, byte for byte."""
    day = world.hits.filter(pl.col("day") == DAY).select(HITS.columns.keys())
    whole = tables(day)
    middle = 2**59
    low, high = tables(day.filter(pl.col("visitor") < middle)), tables(day.filter(pl.col("visitor") >= middle))
    for i in (0, 1):
        assert_frame_equal(whole[i], tables(day.sample(fraction=1, shuffle=True, seed=5))[i])
        assert_frame_equal(whole[i], pl.concat([low[i], high[i]]))
    order = ["idvisitor", "server_time", "log_identity", "line"]
    keys = (
        whole[1]
        .join(day.select("log_identity", "line", "tie"), on=["log_identity", "line"], maintain_order="left")
        .select(*order[:2], "tie", *order[2:])
    )
    assert_frame_equal(keys, keys.sort(keys.columns))


def test_a_log_split_in_two_makes_the_same_figures(world: World) -> None:
    """Other identities and line numbers change no visit, and nothing of an event but its own id."""
    day = world.hits.filter(pl.col("day") == DAY).select(HITS.columns.keys())
    second = pl.col("line") % 7 < 3
    split = day.with_columns(
        log_identity=pl.when(second).then(pl.lit("00" * 16)).otherwise(pl.lit("ff" * 16)),
        line=pl.int_range(pl.len(), dtype=pl.Int64).reverse(),
    )
    visits, events = tables(day)
    other_visits, other_events = tables(split)
    assert_frame_equal(visits, other_visits)
    where_from = ["idlink_va", "log_identity", "line"]
    assert_frame_equal(events.drop(where_from), other_events.drop(where_from))
    assert other_events["idlink_va"].n_unique() == len(events)
