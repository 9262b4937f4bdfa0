"""LA Referencia's figures, items' countries, searches and the rules version, on events of a few columns."""

from datetime import UTC, date, datetime, timedelta

import pytest

from usage_stats_dagster.metrics.version import rules_parts, rules_version
from usage_stats_dagster.settings import Settings, Site
from usage_stats_dagster_tests.metrics.frames import SITE, Row, bucket, day_metrics

DAY = date(2025, 6, 10)
NOON = datetime(2025, 6, 10, 12, tzinfo=UTC)
SETTINGS = Settings()


def event(n: int, **columns) -> Row:
    made = {"idlink_va": n, "idvisit": 1, "idvisitor": "0000000000000001", "server_time": NOON + timedelta(minutes=n)}
    return {**made, "action_type": 1, "action_url": f"host/{n}", "identifier": "oai:host:1", **columns}


def visit(n: int = 1, **columns) -> Row:
    return {"idvisit": n, "visit_total_actions": 3, "visit_total_time": 60, "location_country": "br", **columns}


def made(events, visits=None):
    return day_metrics([bucket(events, visits or [visit()])], SETTINGS, DAY)


def reasons(events, visits=None, vocabulary="lareferencia") -> dict[str, int]:
    rows = made(events, visits).step_counts.iter_rows()
    return {step: n for v, step, n in rows if v == vocabulary and n}


def test_each_figure_is_at_most_one_per_visit_and_identifier():
    """Two visits to an item: views and a download in one, an outlink without a view in the other."""
    types = [(1, 1), (1, 1), (1, 3), (1, 3), (2, 2), (2, 2)]
    events = [event(n, idvisit=v, action_type=t) for n, (v, t) in enumerate(types)]
    table = made(events, [visit(1), visit(2)]).table
    assert table.select("views", "outlinks", "downloads", "conversions").row(0) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("action_type", "item_action", "figure"),
    [
        (1, None, "views"),
        (3, None, "downloads"),
        (2, None, "outlinks"),
        (1, "request", "downloads"),
        (3, "investigation", "views"),
        (1, "outlink", "outlinks"),
    ],
)
def test_the_platforms_rules_decide_before_the_type_of_the_action(action_type, item_action, figure):
    table = made([event(1, action_type=action_type, item_action=item_action)]).table
    assert {m for m in ("views", "outlinks", "downloads") if table[m][0]} == {figure}


@pytest.mark.parametrize(
    ("actions", "seconds", "stays"),
    [(10, 0, True), (11, 22, False), (11, 23, True), (99, 199, True), (99, 198, False), (100, 9999, False)],
)
def test_a_visit_of_many_actions_must_have_taken_its_time(actions, seconds, stays):
    visits = [visit(visit_total_actions=actions, visit_total_time=seconds)]
    assert reasons([event(1)], visits) == {"kept" if stays else "behaviour": 1}


def test_an_event_has_the_reason_of_the_first_step_that_drops_it():
    robot = event(1, robot="list: bot", identifier=None, action_url="host/a.pdf.jpg", http_status=206)
    thumbnail = event(2, action_url="host/a.pdf.jpg", identifier=None)
    other = event(3, identifier=None, http_status=206)
    partial_content = event(4, http_status=206)
    events = [robot, thumbnail, other, partial_content]
    assert reasons(events) == {"robots": 1, "assets": 1, "unidentified": 1, "kept": 1}
    assert reasons(events, vocabulary="counter") == {"robots": 1, "assets": 1, "unidentified": 1, "not_delivered": 1}


def test_searches_stand_in_a_row_without_identifier_and_double_clicks_do_not_touch_them():
    search = {"action_type": 8, "action_url": None, "identifier": None, "action_name": "water", "server_time": NOON}
    table = made([event(n, **search) for n in range(2)]).table
    assert table.select("identifier", "country", "searches", "views").rows() == [(None, "br", 2, 0)]


def test_the_country_of_an_item_is_the_last_that_is_not_null():
    events = [event(n, country_item=country) for n, country in enumerate(["AR", "BR", None])]
    assert made(events).table["country_item"].to_list() == ["BR"]


def test_a_visit_of_more_actions_that_names_no_country_outdoes_one_of_another_bucket_that_does():
    """Visitors of the same country: whichever bucket they are in, the item has no country."""
    silent = [event(1)], [visit(1, visit_total_actions=5)]
    naming = [event(2, idvisit=2, idvisitor="0000000000000002", country_item="BR")], [visit(2)]
    whole = bucket(silent[0] + naming[0], silent[1] + naming[1])
    for buckets in ([whole], [bucket(*silent), bucket(*naming)], [bucket(*naming), bucket(*silent)]):
        assert day_metrics(buckets, SETTINGS, DAY).table["country_item"].to_list() == [None]


def test_unknown_visits_and_countries_are_counted_too():
    events = [event(1), event(2, idvisit=9, idvisitor="0000000000000009")]
    table = made(events, [visit(location_country=None)]).table
    assert table.select("country", "views", "unique_item_investigations").rows() == [(None, 2, 2)]


def test_nothing_in_nothing_out():
    empty = made([])
    assert empty.table.is_empty()
    assert empty.step_counts["events"].sum() == 0
    assert day_metrics([], SETTINGS, DAY).step_counts.equals(empty.step_counts)


def test_the_rules_version_changes_with_what_counts_only(tmp_path):
    def version_of(settings, site, lists):
        return rules_version({**rules_parts(settings, site), "lists": lists})

    version = version_of(SETTINGS, SITE, "lists-1")
    assert len(version) == 16
    assert int(version, 16) >= 0
    same = [
        (Settings(storage={"root": "elsewhere"}, rules={"store_ips": True}), SITE),
        (SETTINGS, SITE.model_copy(update={"name": "Other name", "logs": ("elsewhere/**",)})),
    ]
    assert {version_of(*s, "lists-1") for s in same} == {version}
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("oai:a:1,oai:b:1\n")
    mapped = Site(**{**SITE.model_dump(exclude_unset=True), "identifier_map": {"file": str(pairs)}})
    others = [
        version_of(SETTINGS, SITE, "lists-2"),
        version_of(Settings(rules={"double_click_seconds": 10}), SITE, "lists-1"),
        version_of(Settings(rules={"steps": ("robots", "unidentified")}), SITE, "lists-1"),
        version_of(Settings(platform={"time_zone": "America/Bogota"}), SITE, "lists-1"),
        version_of(SETTINGS, SITE.model_copy(update={"platform": "ojs"}), "lists-1"),
        version_of(SETTINGS, mapped, "lists-1"),
    ]
    pairs.write_text("oai:a:1,oai:c:1\n")
    others.append(version_of(SETTINGS, mapped, "lists-1"))
    assert len({version, *others}) == len(others) + 1
