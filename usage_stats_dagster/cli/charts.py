"""Charts as PNG files.

What belongs here: drawing. What does not: the figures drawn, or charts in the terminal (`output.bars`). Matplotlib is
imported only when something is drawn: it costs half a second.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from usage_stats_dagster.cli.output import CommandError

_LEGEND = 9  # sites drawn apart; more are summed as others


def draw_volumes(volumes: pl.DataFrame, path: Path, title: str) -> None:
    """Stacked bars of `events` by `period` and `idsite`; CommandError when the file can't be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import StrMethodFormatter  # noqa: PLC0415

    largest = volumes.group_by("idsite").agg(pl.col("events").sum()).sort("events", "idsite", descending=[True, False])
    apart = largest["idsite"].head(_LEGEND if largest.height > _LEGEND + 1 else _LEGEND + 1)
    name = (
        pl.when(pl.col("idsite").is_in(apart.implode()))
        .then(pl.format("site {}", "idsite"))
        .otherwise(pl.lit("others"))
    )
    stacks = volumes.group_by("period", name.alias("name")).agg(pl.col("events").sum())
    periods = volumes["period"].unique().sort()
    labels = periods.dt.strftime("%Y-%m" if (periods.dt.day() == 1).all() else "%Y-%m-%d").to_list()

    figure = Figure(figsize=(max(6.0, min(24.0, 2 + 0.35 * len(labels))), 4.5), layout="constrained")
    axes = figure.add_subplot()
    base = [0] * len(labels)
    for stack in [f"site {s}" for s in apart] + (["others"] if largest.height > len(apart) else []):
        events = periods.to_frame().join(
            stacks.filter(pl.col("name") == stack), on="period", how="left", maintain_order="left"
        )
        heights = events["events"].fill_null(0).to_list()
        axes.bar(range(len(labels)), heights, bottom=base, label=stack)
        base = [b + h for b, h in zip(base, heights, strict=True)]
    every = max(1, len(labels) // 31)  # labels that fit
    axes.set_xticks(range(0, len(labels), every), labels[::every], rotation=60, ha="right")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_title(title)
    axes.set_ylabel("events")
    if largest.height > 1:
        axes.legend()
    try:
        FigureCanvasAgg(figure).print_figure(path, format="png", dpi=120)
    except OSError as e:
        msg = f"can't write {path}: {e.strerror}"
        raise CommandError(msg) from e
