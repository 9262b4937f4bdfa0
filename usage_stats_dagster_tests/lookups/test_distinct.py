import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from usage_stats_dagster.lookups.distinct import listed, per_distinct
from usage_stats_dagster.lookups.remembered import Remembered

values = st.lists(st.one_of(st.none(), st.sampled_from(["", "a", "é", "日本"]), st.text(max_size=3)), max_size=30)


@settings(deadline=None)
@given(values)
def test_each_distinct_value_is_judged_once_and_each_row_gets_its_verdict(rows):
    seen: list[str] = []

    def judge(distinct):
        seen.extend(distinct.to_list())
        return distinct.str.len_chars()

    found = per_distinct(pl.Series(rows, dtype=pl.String), judge)

    assert found.to_list() == [None if r is None else len(r) for r in rows]
    assert sorted(seen) == sorted({r for r in rows if r is not None})


def test_a_column_in_pieces_is_one_column():
    column = pl.concat([pl.Series(["a", "b"]), pl.Series(["b", None]), pl.Series(["c", "a"])], rechunk=False)

    assert per_distinct(column, lambda d: d.str.to_uppercase()).to_list() == ["A", "B", "B", None, "C", "A"]


def test_what_is_remembered_is_judged_once_until_it_is_too_much():
    asked: list[list[str]] = []

    def judge(strings):
        asked.append(strings)
        return [s.upper() for s in strings]

    remembered = Remembered(listed(judge), limit=2)

    assert remembered(pl.Series(["a", "b"])).to_list() == ["A", "B"]
    assert remembered(pl.Series(["b", None, "c"])).to_list() == ["B", None, "C"]
    assert remembered(pl.Series(["d", "a"])).to_list() == ["D", "A"]
    assert asked == [["a", "b"], ["c"], ["d", "a"]]
