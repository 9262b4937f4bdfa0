"""Values out of a column of JSON objects, exact whatever one of the lines holds.

What belongs here: reading many lines at once, and the slow way for the few that spoil that. What does not: which keys a
format has (`jsonlines.py`).
"""

from __future__ import annotations

from typing import Any

import polars as pl

Place = tuple[str, ...]
"""Keys from the object's top; "0" is the first of a list."""

_SPOILED = 32
# Polars decodes a column by joining its lines to one list: a line that holds two objects would move all lines after it.
_TWO_OBJECTS = r"\}\s*,\s*\{"


def values(lines: pl.Series, places: list[Place]) -> pl.DataFrame:
    """One row a line, one String column a place, named by its keys joined by dots; nulls for a line that is no object."""
    rows = lines.alias("text").to_frame()
    whole = pl.col("text").str.starts_with("{") & pl.col("text").str.strip_chars_end().str.ends_with("}")
    plain = rows.select(pl.when(whole & ~pl.col("text").str.contains(_TWO_OBJECTS)).then("text")).to_series()
    odd = rows.select((whole & pl.col("text").str.contains(_TWO_OBJECTS)).fill_null(value=False)).to_series()
    found = _decoded(plain, places)
    if not odd.any():
        return found
    apart = _one_by_one(lines.set(~odd, None), places)
    return found.select(pl.when(odd).then(apart.get_column(c)).otherwise(c).alias(c) for c in found.columns)


def _decoded(lines: pl.Series, places: list[Place]) -> pl.DataFrame:
    """All at once; where one line breaks that, by halves, down to a few that are read one by one."""
    try:
        objects = lines.alias("object").str.json_decode(_schema(places)).to_frame("object")
        if objects.height == len(lines):
            return objects.select(_value(p) for p in places)
    except pl.exceptions.ComputeError:
        pass
    if len(lines) <= _SPOILED:
        return _one_by_one(lines, places)
    half = len(lines) // 2
    return pl.concat([_decoded(lines[:half], places), _decoded(lines[half:], places)])


def _schema(places: list[Place]) -> Any:  # noqa: ANN401  (a Polars type, class or instance)
    if places == [()]:
        return pl.String
    tops = list(dict.fromkeys(p[0] for p in places))
    if tops == ["0"]:
        return pl.List(_schema([p[1:] for p in places]))
    return pl.Struct({t: _schema([p[1:] for p in places if p[0] == t]) for t in tops})


def _value(place: Place) -> pl.Expr:
    value = pl.col("object")
    for key in place:
        value = value.list.get(0, null_on_oob=True) if key == "0" else value.struct.field(key)
    return value.alias(".".join(place))


def _one_by_one(lines: pl.Series, places: list[Place]) -> pl.DataFrame:
    def path(place: Place) -> str:
        return "$" + "".join("[0]" if key == "0" else f"['{key}']" for key in place)

    return (
        lines.alias("text")
        .to_frame()
        .select(pl.col("text").str.json_path_match(path(p)).alias(".".join(p)) for p in places)
    )
