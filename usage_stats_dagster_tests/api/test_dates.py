"""Dates as readers write them, against a table of what they mean."""

from __future__ import annotations

import contextlib
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_stats_dagster.api.dates import DateError, first_day, last_day

NOW = datetime(2024, 2, 29, 15, 30)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2025-06-10", "2025-06-10", "2025-06-10"),
        ("2025-06", "2025-06-01", "2025-06-30"),
        ("2025", "2025-01-01", "2025-12-31"),
        ("2025-06-10T00:00:00.000Z", "2025-06-10", "2025-06-10"),
        ("2025-06-10T00:00:00.001Z", "2025-06-11", "2025-06-10"),
        ("2025-06-10T15", "2025-06-11", "2025-06-10"),
        ("2025-06-10T22:00:00-03:00", "2025-06-12", "2025-06-11"),
        ("2025-06-10T21:00:00-0300", "2025-06-11", "2025-06-11"),
        (" 2025-06-10 ", "2025-06-10", "2025-06-10"),
        ("now", "2024-03-01", "2024-02-29"),
        ("now/d", "2024-02-29", "2024-02-29"),
        ("now-1y", "2023-03-01", "2023-02-28"),
        ("now-6M", "2023-08-30", "2023-08-29"),
        ("now-3y/y", "2021-01-01", "2021-12-31"),
        ("now-1w/w", "2024-02-19", "2024-02-25"),
        ("now+12h", "2024-03-02", "2024-03-01"),
        ("now-1M-1d", "2024-01-29", "2024-01-28"),
        ("2024-01-31||+1M", "2024-02-29", "2024-02-29"),
        ("2024-05-31||-1M/M", "2024-04-01", "2024-04-30"),
    ],
)
def test_what_a_date_means(text, first, last):
    found = first_day("start_date", text, NOW), last_day("end_date", text, NOW)
    assert tuple(map(str, found)) == (first, last)


@pytest.mark.parametrize(
    "text",
    ["", "today", "now-", "now-1x", "now 1d", "now-99999y", "now+9999999d", "2025-1-1", "2025-02-29", "25-01-01", "2025-06-10 10:00",
     "2025-06-10T25", "2025-06-10|+1d", "٢٠٢٥-06-10", "9999||+1y", "1749513600000"],
)  # fmt: skip
def test_what_is_no_date_is_named(text):
    for read in (first_day, last_day):
        with pytest.raises(DateError, match=r"end_date .* is no date.*: write one such as 2025-06-01"):
            read("end_date", text, NOW)


@given(
    st.text(max_size=12)
    | st.from_regex(r"(now|[0-9]{4}-[0-9]{2}(-[0-9]{2})?\|\|)([+-][0-9]{1,7}[yMwdhHms]|/[yMwdhHms])*", fullmatch=True)
)
def test_any_text_is_a_date_or_an_error(text):
    for read in (first_day, last_day):
        with contextlib.suppress(DateError):
            assert isinstance(read("x", text, NOW), date)
