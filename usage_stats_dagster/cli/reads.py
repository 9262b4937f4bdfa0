"""The commands that read figures: `items`, `item`, `volumes`.

What belongs here: their options, their checks, which question they put. What does not: the answers (`index/`, and for
volumes the frame that the caller provides), how they are printed (`output.py`, `charts.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from usage_stats_dagster.cli.charts import draw_volumes
from usage_stats_dagster.cli.failures import failures
from usage_stats_dagster.cli.output import CommandError, Format, UsageError, bars, emit, failing, total
from usage_stats_dagster.index.interface import (
    DocumentIndex,
    DocumentIndexError,
    Granularity,
    Selection,
    check_metric,
    month_end,
)
from usage_stats_dagster.index.open import open_index
from usage_stats_dagster.schemas import METRICS
from usage_stats_dagster.settings import Settings, SettingsError, current_settings

VolumesFrame = Callable[[Settings, tuple[int, ...] | None, date | None, date | None], pl.DataFrame]
"""Settings, sites (None: all), first and last day (None: open) to a frame `idsite`, `day`, then counts, `events` among them."""

_SHOWN = 20  # items that a table shows unless told


class By(StrEnum):
    """How periods are summed."""

    day = "day"
    month = "month"
    year = "year"


class VolumesBy(StrEnum):
    """The bars of a chart."""

    month = "month"
    day = "day"


SiteOption = Annotated[list[str] | None, typer.Option("--site", help="Site id; several as 1,2 or by repeating.")]
FromOption = Annotated[str | None, typer.Option("--from", help="First day, YYYY-MM-DD or YYYY-MM.")]
ToOption = Annotated[str | None, typer.Option("--to", help="Last day, YYYY-MM-DD or YYYY-MM (to the month's end).")]
ByOption = Annotated[
    By | None, typer.Option("--by", help="One row a day, month or year; without it, one for the whole time.")
]
MetricOption = Annotated[
    str, typer.Option("--metric", help=f"What items and countries are ranked by: {', '.join(METRICS)}.")
]
CountriesOption = Annotated[bool, typer.Option("--countries", help="Split by the visitors' country.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How the answer is written.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer and errors as JSON.")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Write the answer to this file.")]


def register(app: typer.Typer, volumes_frame: VolumesFrame) -> None:
    """Add the commands to the application."""
    app.command("items")(items)
    app.command("item")(item)
    app.command("volumes")(_volumes_command(volumes_frame))


def items(
    *,
    site: SiteOption = None,
    since: FromOption = None,
    until: ToOption = None,
    by: ByOption = None,
    top: Annotated[
        int | None, typer.Option("--top", min=1, help=f"So many items; default all, in a table {_SHOWN}.")
    ] = None,
    metric: MetricOption = "views",
    countries: CountriesOption = False,
    format: FormatOption = Format.table,
    as_json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """The items most used, with all their figures."""
    format = Format.json if as_json else format
    with failing(DocumentIndexError, as_json=format is Format.json):
        where, metric = _selection(site, since, until), parse_metric(metric)
        limit = top or (_SHOWN if format is Format.table else None)
        with closing(open_index(_settings())) as index:
            answer = index.items(where, _granularity(by), metric=metric, limit=limit, countries=countries)
            every = index.totals(where)
        title = f"Items by {_words(metric)}{_span(where)}"
        if format is not Format.table:
            emit(answer.drop("documents"), format, out=output)
            return
        table, zero = _for_people(answer, by, every)
        table = table.select("identifier", pl.exclude("identifier"))
        sums = total(table, [m for m in METRICS if m in table.columns])
        more = total(answer, METRICS).select(METRICS).rows() != every.select(METRICS).rows()
        if more:
            whole = every.select(pl.lit("all items").alias("identifier"), *sums.columns[1:])
            sums = pl.concat([sums.with_columns(identifier=pl.lit("shown")), whole])
        first = (
            f"the first {limit} by {_words(metric)}: more with --top, all with --format csv"
            if more and not top
            else None
        )
        emit(table, title=title, out=output, totals=sums, note="; ".join(filter(None, (first, zero))))


def item(
    identifier: Annotated[str, typer.Argument(help="As indexed, such as oai:host:123/45.")],
    *,
    site: SiteOption = None,
    since: FromOption = None,
    until: ToOption = None,
    by: ByOption = None,
    metric: MetricOption = "views",
    countries: CountriesOption = False,
    format: FormatOption = Format.table,
    as_json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """One item's figures, a row a site."""
    format = Format.json if as_json else format
    with failing(DocumentIndexError, as_json=format is Format.json):
        where, metric = _selection(site, since, until, identifier), parse_metric(metric)
        with closing(open_index(_settings())) as index:
            answer = index.items(where, _granularity(by), metric=metric, countries=countries)
            if answer.is_empty():
                raise _not_found(index, identifier)
        answer = answer.drop("documents").sort("idsite", maintain_order=True)
        if format is not Format.table:
            emit(answer, format, out=output)
            return
        table, zero = _for_people(answer.drop("identifier"), by, answer)
        sums = total(table, [m for m in METRICS if m in table.columns]) if table.height > 1 else None
        emit(table, title=f"{identifier}{_span(where)}", out=output, totals=sums, note=zero)


def _volumes_command(volumes_frame: VolumesFrame) -> Callable[..., None]:
    def volumes(
        *,
        site: SiteOption = None,
        year: Annotated[int | None, typer.Option("--year", min=1990, max=2999, help="This year only.")] = None,
        by: Annotated[VolumesBy, typer.Option("--by", help="One bar a month or a day.")] = VolumesBy.month,
        png: Annotated[Path | None, typer.Option("--png", help="Draw the chart to this file too.")] = None,
        format: FormatOption = Format.table,
        as_json: JsonOption = False,
        output: OutputOption = None,
    ) -> None:
        """How many events each month or day has: a chart, and the counts behind it."""
        format = Format.json if as_json else format
        with failing(*failures(), as_json=format is Format.json):
            start, end = (date(year, 1, 1), date(year, 12, 31)) if year else (None, None)
            days = volumes_frame(_settings(), parse_sites(site), start, end)
            counts = [c for c in days.columns if c not in ("idsite", "day")]
            periods = pl.col("day").dt.truncate("1mo" if by is VolumesBy.month else "1d").alias("period")
            answer = days.group_by("idsite", periods).agg(pl.col(counts).sum()).sort("idsite", "period")
            title = f"Events by {by.value}{f' of {year}' if year else ''}"
            if png is not None:
                draw_volumes(answer, png, title)
            if format is Format.table:
                table = answer.group_by("period").agg(pl.col(counts).sum()).sort("period")
                table = _for_people(table, by, table)[0].with_columns(bars(table["events"]).alias(" "))
                emit(
                    table,
                    format,
                    title=title,
                    out=output,
                    totals=total(table, [c for c in counts if c in table.columns]),
                    note=f"drawn to {png}" if png else None,
                )
            else:
                emit(answer, format, out=output)

    return volumes


def parse_sites(values: list[str] | None) -> tuple[int, ...] | None:
    """Site ids from `--site 1,2 --site 3`; None when none is given."""
    if not values:
        return None
    words = [w.strip() for v in values for w in v.split(",")]
    wrong = [w for w in words if not re.fullmatch(r"[1-9][0-9]{0,9}", w)]
    if wrong:
        msg = f"--site {wrong[0]!r} is no site id: use a number, or several as 1,2"
        raise UsageError(msg)
    return tuple(dict.fromkeys(int(w) for w in words))


def parse_day(option: str, text: str | None, *, last: bool) -> date | None:
    """The day that `YYYY-MM-DD` names, or the first (`last`: the last) of the month `YYYY-MM`."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{4})-([0-9]{2})(?:-([0-9]{2}))?", text)
    try:
        if match is None:
            msg = "a date is written"
            raise ValueError(msg)
        day = date(int(match[1]), int(match[2]), int(match[3] or 1))
    except ValueError as e:
        why = "" if match is None else f" ({e})"
        msg = f"{option} {text!r} is no date{why}: write YYYY-MM-DD, such as 2025-03-01, or YYYY-MM"
        raise UsageError(msg) from e
    return month_end(day) if last and match[3] is None else day


def parse_range(since: str | None, until: str | None) -> tuple[date | None, date | None]:
    """Both ends of `--from` and `--to`, included; UsageError when they are no dates or in the wrong order."""
    start, end = parse_day("--from", since, last=False), parse_day("--to", until, last=True)
    if start and end and start > end:
        msg = f"--from {since} is after --to {until}"
        raise UsageError(msg)
    return start, end


def parse_metric(metric: str) -> str:
    """The metric of that name; UsageError with the choices when there is none."""
    try:
        return check_metric(metric)
    except ValueError as e:
        msg = f"--metric: {e}"
        raise UsageError(msg) from e


def _settings() -> Settings:
    try:
        return current_settings()
    except SettingsError as e:
        raise UsageError(str(e)) from e


def _selection(
    site: list[str] | None, since: str | None, until: str | None, identifier: str | None = None
) -> Selection:
    start, end = parse_range(since, until)
    return Selection(identifier=identifier, sites=parse_sites(site), start=start, end=end)


def _granularity(by: By | None) -> Granularity | None:
    return by.value if by else None


def _for_people(answer: pl.DataFrame, by: By | VolumesBy | None, every: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """The answer as a table, periods as people write them, and a note of the metrics left out: zero throughout `every`."""
    written = {"month": "%Y-%m", "year": "%Y"}.get(by or "")
    if written:
        answer = answer.with_columns(pl.col("period").dt.strftime(written))
    zero = [m for m in METRICS if m in every.columns and not every[m].sum()]
    note = f"zero throughout: {', '.join(map(_words, zero))}" if zero and len(zero) < len(METRICS) else ""
    return answer.drop(zero if note else [], "documents", strict=False), note


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _span(where: Selection) -> str:
    since = f" from {where.start}" if where.start else ""
    return since + (f" to {where.end}" if where.end else "")


def _not_found(index: DocumentIndex, identifier: str) -> CommandError:
    """Why there is nothing: the item has figures elsewhere, or it is not there and others are spelled like it."""
    known = index.by_site(Selection(identifier=identifier), "day")
    if not known.is_empty():
        sites = known["idsite"].unique().sort().to_list()
        first, last = (known["period"].sort().item(i) for i in (0, -1))
        listed = ", ".join(map(str, sites))
        return CommandError(
            f"{identifier!r} has no figures there; it has some from {first} to {last}, site {listed}",
            identifier=identifier,
            sites=sites,
            first=str(first),
            last=str(last),
        )
    near = index.nearest(identifier)
    hint = f"; the nearest: {', '.join(map(repr, near))}" if near else ""
    return CommandError(f"no item {identifier!r} in the index{hint}", identifier=identifier, nearest=near)
