"""The commands that say what became of every line: `account`, `rejects`, `unmapped`.

What belongs here: their options and tables. What does not: the counts behind them (`pipeline/account/`, `pipeline/rejects.py`).
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import polars as pl
import typer

from usage_stats_dagster.cli.common import open_workspace, window_option
from usage_stats_dagster.cli.days import (
    DayOption,
    FormatOption,
    FromOption,
    JsonOption,
    OutputOption,
    SiteOption,
    ToOption,
)
from usage_stats_dagster.cli.failures import failures
from usage_stats_dagster.cli.output import Format, UsageError, emit, fail, failing
from usage_stats_dagster.cli.reads import parse_sites

_RULES_SHOWN = 8
"""Rules of robots that a table for people names."""

_SUMS_TOLD = 3
"""Open sums that the error names; the answer has all."""

_TEXT_SHOWN = 100
"""Characters of an example."""


class By(StrEnum):
    """The grain of the accounting."""

    site = "site"
    day = "day"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("account")(account_command)
    app.command("rejects")(rejects_command)
    app.command("unmapped")(unmapped_command)


def account_command(
    day: str | None = DayOption, first: str | None = FromOption, last: str | None = ToOption, site: list[str] | None = SiteOption,
    by: By = typer.Option(By.site, "--by", help="One table a site, or a site and day."),
    examples: bool | None = typer.Option(None, "--examples/--no-examples", help="The first lines and events of each drop; without it, for --day."),
    format: Format = FormatOption, json: bool = JsonOption, output: Path | None = OutputOption,
) -> None:  # fmt: skip
    """The accounting from lines to documents; exit code 1 when a sum does not close."""
    from usage_stats_dagster.pipeline.account import account  # noqa: PLC0415
    from usage_stats_dagster.pipeline.account import examples as shown  # noqa: PLC0415

    format = Format.json if json else format
    with failing(*failures(), as_json=format is Format.json):
        sites = parse_sites(site)
        a, b = window_option(day, first, last)
        ws = open_workspace()
        result = account(ws, sites=sites, first=a, last=b, by=by.value)
        table = result.table
        if not table.height and format is Format.table:
            typer.echo("nothing to account for yet", err=True)
            return
        found = None
        if examples or (examples is None and day is not None):
            found = shown.examples(ws, table, a, b, by_day=by is By.day)
        closed = f"every sum closes ({result.sums:,})" if result.closes else "NOT CLOSED:"
        note = "\n".join([*result.notes, closed, *result.open_sums])
        if format is not Format.table:
            emit(table if found is None else _with_examples(table, found), format, out=output)
        elif found is None or not found.height:
            emit(_for_people(table), title="From lines to documents", out=output, note=note)
        else:
            emit(_for_people(table), title="From lines to documents", out=output)
            if output is None:
                typer.echo()
                emit(_few(found, table), title="The first of each drop", note=note)
        if not result.closes:
            fail(_open(result.open_sums), as_json=format is Format.json)


def _open(sums: list[str]) -> str:
    """The error: the first sums, and the way out."""
    more = f"; and {len(sums) - _SUMS_TOLD:,} more" if len(sums) > _SUMS_TOLD else ""
    told = "; ".join(sums[:_SUMS_TOLD])
    way_out = "" if "doctor" in told else ": `usage-stats doctor` names what is damaged and how to mend it"
    return f"the accounting does not close: {told}{more}{way_out}"


def _for_people(table: pl.DataFrame) -> pl.DataFrame:
    """A column a site, rules of robots beyond the most frequent put together, why a drop is one at the end."""
    from usage_stats_dagster.pipeline.account.book import STAGES  # noqa: PLC0415

    keys = [k for k in ("day", "stage", "what") if k in table.columns]
    per = [k for k in keys if k != "what"]
    counted = table.with_columns(
        total=pl.col("count").sum().over(keys), place=pl.int_range(pl.len()).over("idsite", *per)
    )
    rule = pl.col("stage") == "robots"
    rank = (
        pl.when(rule).then(pl.col("total").rank("dense", descending=True).over(per)).otherwise("place").cast(pl.Int64)
    )
    rare = rule & (rank > _RULES_SHOWN)
    folded = counted.with_columns(rank=rank).with_columns(
        what=pl.when(rare).then(pl.lit("(other rules)")).otherwise("what"),
        rank=pl.when(rare).then(pl.lit(1 << 40)).otherwise("rank"),
        stages=pl.col("stage").replace_strict({s: i for i, s in enumerate(STAGES)}, return_dtype=pl.Int64),
    )
    order = [*per[:-1], "stages", "rank", "what"]
    rows = folded.group_by("idsite", *keys).agg(pl.col("count").sum(), pl.col("rank", "stages").min())
    places = rows.group_by(keys).agg(pl.col("rank", "stages").min())
    pivoted = rows.pivot("idsite", index=keys, values="count", sort_columns=True).join(
        places, on=keys, nulls_equal=True
    )
    reasons = table.group_by("stage", "what").agg(pl.col("reason").drop_nulls().first())
    joined = (
        pivoted.sort(order, nulls_last=True)
        .drop("rank", "stages")
        .join(reasons, on=["stage", "what"], how="left", maintain_order="left")
    )
    return joined.rename({c: f"site {c}" for c in joined.columns if c.isdigit()})


def _few(found: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    """The examples for people: in the table's order, steps of both vocabularies once, short."""
    both = pl.col("stage").str.replace("steps: .*", "step").alias("stage")
    keys = [k for k in ("idsite", "day", "stage", "what") if k in table.columns]
    order = table.with_columns(both).select(*keys).unique(maintain_order=True).with_row_index("place")
    rows = found.with_columns(both, pl.col("text").str.slice(0, _TEXT_SHOWN)).unique(maintain_order=True)
    rows = rows.join(order, on=keys, nulls_equal=True).sort("place", maintain_order=True).drop("place")
    return rows if "day" in keys else rows.drop("day")


def _with_examples(table: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """The table with a column `examples`: log, line, text."""
    keys = [k for k in ("idsite", "day", "stage", "what") if k in table.columns]
    nested = found.group_by(keys, maintain_order=True).agg(pl.struct("log", "line", "text").alias("examples"))
    return table.join(nested, on=keys, how="left", nulls_equal=True, maintain_order="left")


def rejects_command(
    day: str | None = DayOption, first: str | None = FromOption, last: str | None = ToOption, site: list[str] | None = SiteOption,
    log: str | None = typer.Option(None, "--log", help="Only of logs whose path holds this."),
    outcome: str = typer.Option("invalid", "--outcome", help="What became of the lines: invalid, http_error, static … as in `account`."),
    limit: int = typer.Option(50, "--limit", "--top", min=1, help="So many lines."),
    format: Format = FormatOption, json: bool = JsonOption, output: Path | None = OutputOption,
) -> None:  # fmt: skip
    """Lines that did not become hits: log, line number, reason and what stands there (addresses blotted out)."""
    from usage_stats_dagster.pipeline.rejects import DROPPED, Wanted, rejects  # noqa: PLC0415

    format = Format.json if json else format
    with failing(*failures(), as_json=format is Format.json):
        if outcome not in DROPPED:
            msg = f"--outcome {outcome!r}: there are {', '.join(DROPPED)}"
            raise UsageError(msg)
        wanted = Wanted(parse_sites(site), *window_option(day, first, last), log, outcome, limit)
        found = rejects(open_workspace(), wanted)
        table = found.lines
        if format is Format.table:
            empty = [c for c in ("day", "length") if table[c].null_count() == table.height]
            table = table.drop(empty)
        more = f"{found.total:,} in all: more with --limit" if found.total > table.height else None
        emit(
            table,
            format,
            title="Lines that are no hits",
            out=output,
            note="\n".join(filter(None, (more, *found.notes))) or None,
        )


def unmapped_command(
    day: str | None = DayOption,
    first: str | None = FromOption,
    last: str | None = ToOption,
    site: list[str] | None = SiteOption,
    top: int = typer.Option(20, "--top", min=1, help="So many a site."),
    format: Format = FormatOption,
    json: bool = JsonOption,
    output: Path | None = OutputOption,
) -> None:
    """Content that no item rule knows, by the shape of its URL: what is missing from the figures of items."""
    from usage_stats_dagster.pipeline.unmapped import unmapped_urls  # noqa: PLC0415

    format = Format.json if json else format
    with failing(*failures(), as_json=format is Format.json):
        ws = open_workspace()
        statuses = ws.ledger.statuses(parse_sites(site), *window_option(day, first, last))
        frames = []
        for idsite in sorted({r["idsite"] for r in statuses}):
            found = unmapped_urls(ws, idsite, [r["day"] for r in statuses if r["idsite"] == idsite], top)
            frames.append(found.select(pl.lit(idsite, pl.Int32).alias("idsite"), pl.all()))
        table = (
            pl.concat(frames)
            if frames
            else pl.DataFrame(schema={"idsite": pl.Int32, "shape": pl.String, "count": pl.Int64})
        )
        emit(
            table,
            format,
            title="Content without an item",
            out=output,
            note="docs/adding-a-platform.md says how to write a rule",
        )
