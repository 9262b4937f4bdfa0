"""Every question gives what a plain computation over the same documents gives."""

import itertools
from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from usage_stats_dagster.index.embedded import EmbeddedIndex
from usage_stats_dagster.index.interface import FIGURES, KEYS, Selection
from usage_stats_dagster.index.opensearch import questions as opensearch_questions
from usage_stats_dagster.schemas import DOCUMENTS, METRICS
from usage_stats_dagster_tests.index.documents import IDENTIFIERS, collections, document, frame

EVERY_DAY = pl.col("date").dt
PERIOD = {"day": pl.col("date"), "month": EVERY_DAY.truncate("1mo"), "year": EVERY_DAY.truncate("1y")}

selections = st.builds(
    Selection,
    identifier=st.none() | st.sampled_from(IDENTIFIERS),
    identifier_prefix=st.none() | st.sampled_from(["oai:host", "oai:host2", "oai:ho"]),
    sites=st.none() | st.lists(st.integers(1, 4), max_size=3).map(tuple),
    start=st.none() | st.dates(date(2024, 12, 25), date(2025, 1, 15)),
    end=st.none() | st.dates(date(2025, 1, 1), date(2025, 2, 20)),
    level=st.none() | st.sampled_from(["R", "N"]),
)
granularities = st.sampled_from([None, "day", "month", "year"])
rankings = st.tuples(st.sampled_from(METRICS), st.none() | st.integers(0, 5))


def filled(index, by_site: dict[int, pl.DataFrame]):
    """The index with just these documents."""
    for site in (1, 2, 3):
        index.replace(site, date(2024, 12, 1), date(2025, 2, 28), by_site.get(site, DOCUMENTS.empty()))
    return index


def selected(by_site: dict[int, pl.DataFrame], where: Selection) -> pl.DataFrame:
    keep = pl.lit(value=True)
    for column in ("identifier", "identifier_prefix", "level"):
        if (value := getattr(where, column)) is not None:
            keep &= pl.col(column) == value
    if where.sites is not None:
        keep &= pl.col("idsite").is_in(where.sites)
    keep &= (pl.col("date") >= where.start) if where.start else True
    keep &= (pl.col("date") <= where.end) if where.end else True
    return pl.concat([DOCUMENTS.empty(), *by_site.values()]).filter(keep)


def summed(documents: pl.DataFrame, keys: list[str], by: str | None) -> pl.DataFrame:
    if by:
        documents, keys = documents.with_columns(period=PERIOD[by]), [*keys, "period"]
    keys = [k for k in KEYS if k in keys]
    sums = [pl.len().cast(pl.Int64).alias("documents"), *(pl.col(m).sum() for m in METRICS)]
    return documents.group_by(keys).agg(sums) if keys else documents.select(sums)


def nested(documents: pl.DataFrame) -> pl.DataFrame:
    rows = documents.drop("country", *METRICS).explode("stats_by_country")
    return rows.filter(pl.col("stats_by_country").is_not_null()).unnest("stats_by_country")


def test_answers_equal_a_plain_computation(shared_index):
    @settings(max_examples=60 if isinstance(shared_index, EmbeddedIndex) else 8, deadline=None, derandomize=True)
    @given(by_site=collections(), where=selections, by=granularities, ranking=rankings)
    def check(by_site, where, by, ranking):
        compare(filled(shared_index, by_site), selected(by_site, where), where, by, ranking)

    check()


def compare(index, documents, where, by, ranking):
    metric, limit = ranking
    assert_frame_equal(index.totals(where), summed(documents, [], None))
    assert_frame_equal(
        index.by_site(where, by), summed(documents, ["idsite"], by).sort("idsite", *(["period"] if by else []))
    )
    assert_frame_equal(
        index.by_level(where, by), summed(documents, ["level"], by).sort("level", *(["period"] if by else []))
    )
    if by:
        assert_frame_equal(index.by_period(where, by), summed(documents, [], by).sort("period"))

    ranked = summed(nested(documents), ["country"], None).sort(metric, "country", descending=[True, False])
    ranked = ranked.head(len(ranked) if limit is None else limit).select("country").with_row_index("place")
    expected = summed(nested(documents), ["country"], by).join(ranked, on="country")
    expected = expected.sort(*(["period"] if by else []), "place").drop("place")
    assert_frame_equal(index.by_country(where, by, metric=metric, limit=limit), expected)

    key = ["idsite", "identifier"]
    ranked = summed(documents, key, None).sort(metric, "identifier", "idsite", descending=[True, False, False])
    ranked = ranked.head(len(ranked) if limit is None else limit).select(key).with_row_index("place")
    within = ["place", *(["period"] if by else [])]
    expected = summed(documents, key, by).join(ranked, on=key).sort(within).drop("place")
    assert_frame_equal(index.items(where, by, metric=metric, limit=limit), expected)
    expected = summed(nested(documents), [*key, "country"], by).join(ranked, on=key)
    expected = expected.sort(*within, metric, "country", descending=[*[False] * len(within), True, False]).drop("place")
    assert_frame_equal(index.items(where, by, metric=metric, limit=limit, countries=True), expected)


def test_an_empty_index_answers(index):
    for where in (Selection(), Selection(sites=(1,)), Selection(sites=())):
        assert index.totals(where).row(0) == (0,) * len(FIGURES)
        assert index.items(where, by="month", countries=True).is_empty()
        assert index.by_country(where, by="month").is_empty()
        assert index.items(where, by="month").schema["period"] == pl.Date
        assert index.sources(where).is_empty()
    assert index.nearest("anything") == []


def test_identifiers_are_found_to_the_letter(index):
    day = date(2025, 3, 1)
    documents = frame(*(document(1, day, i, {"br": 2**n}) for n, i in enumerate(IDENTIFIERS)))
    index.replace(1, day, day, documents)
    for n, identifier in enumerate(IDENTIFIERS):
        found = index.items(Selection(identifier=identifier))
        assert found.select("identifier", "views").rows() == [(identifier, 2**n)]
    assert index.items(Selection(identifier_prefix="oai:host"))["identifier"].str.starts_with("oai:host:").all()
    assert index.items(Selection(identifier="oai:host:%")).is_empty()


def test_the_nearest_spelling(index):
    day = date(2025, 3, 1)
    index.replace(1, day, day, frame(*(document(1, day, i, {"br": 1}) for i in IDENTIFIERS)))
    assert index.nearest("oai:host:123/46")[:2] == ["oai:host:123/4", "oai:host:123/45"]
    assert index.nearest("OAI:HOST2:1", 1) == ["oai:host2:1"]
    assert "oai:host:123/45" in index.nearest("123/45")
    assert index.nearest("zzzz") == []


def test_visitors_without_a_country_count_as_unknown(index):
    day = date(2025, 3, 1)
    both = document(1, day, "oai:host:1", {"br": 1, "xx": 2})
    nameless = {**both["stats_by_country"][0], "country": None, "views": 4}
    both["stats_by_country"] = [nameless, *both["stats_by_country"]]
    index.replace(1, day, day, frame(both))
    assert index.by_country().select("country", "documents", "views").rows() == [("xx", 1, 6), ("br", 1, 1)]
    assert index.items(countries=True).select("country", "documents", "views").rows() == [("xx", 1, 6), ("br", 1, 1)]


def test_more_answers_than_fit_one_request(index, monkeypatch):
    monkeypatch.setattr(opensearch_questions, "PAGE", 3)
    monkeypatch.setattr(opensearch_questions, "_ITEMS", 3)
    monkeypatch.setattr(opensearch_questions, "_DOCUMENTS", 3)
    monkeypatch.setattr(opensearch_questions, "_PERIODS", 3)
    days = [date(2025, 3, n) for n in range(1, 11)]
    rows = [document(1, d, f"oai:host:{n}", {"br": n + 1, "ar": d.day}) for d in days for n in range(7)]
    index.replace(1, days[0], days[-1], frame(*rows))
    documents = {1: frame(*rows)}
    for by, limit in itertools.product((None, "day"), (None, 5)):
        compare(index, selected(documents, Selection()), Selection(), by, ("views", limit))
    assert index.sources()["id"].sort().equals(frame(*rows)["id"].sort())


def test_wrong_questions(index):
    for call in (
        lambda: index.items(metric="hits"),
        lambda: index.items(limit=-1),
        lambda: index.by_country(limit=-1),
        lambda: index.by_site(by="week"),
    ):
        with pytest.raises(ValueError, match=r"hits|-1|week"):
            call()
