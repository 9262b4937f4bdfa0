"""The settings of the read API: `[api]`, `[[api.sources]]` and `[[collections]]`.

What belongs here: keys, defaults, checks. What does not: what they do (`api/`), the other settings (`settings.py`).
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

Country = Annotated[str, Field(pattern=r"^[A-Za-z]{2}$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceSetting(_Section):
    """One of LA Referencia's sources: the name that readers ask for, and the sites that hold its documents."""

    id: str = Field(min_length=1, description="as readers spell it, such as 'opendoar::1329'; case plays no part")
    site: int = Field(gt=0, lt=2**31)
    level: Literal["R", "N", "L"] | None = Field(None, description="default: the site's")
    name: str | None = None
    country: Country | None = Field(None, description="default: the site's")
    identifier_prefix: str | None = Field(None, description="what its identifiers begin with, such as 'oai:host'")
    national: int | None = Field(None, gt=0, description="the national site; default: the one of the country")
    regional: int | None = Field(None, gt=0, description="the regional site; default: the first of level L")


class ApiSection(_Section):
    """The read API: where it listens, who may ask from a browser, and how old traps are settled."""

    host: str = "127.0.0.1"
    port: int = Field(8099, ge=0, lt=65536)
    workers: int = Field(1, ge=1, le=64)
    base_path: str = Field("/api/usage_stats/v2", description="where the reports lie; they lie under / too")
    cors_origins: tuple[str, ...] = Field(("*",), description="web sites whose pages may ask; * for all")
    buckets: Literal["asked", "documents"] = Field(
        "asked", description="a bucket a time_unit as asked for, or a document date whatever is asked"
    )
    countries_by: Literal["documents", "usage", "views", "downloads", "outlinks", "conversions"] = Field(
        "documents", description="what ranks the first countries unless the reader says `order`"
    )
    sources: tuple[SourceSetting, ...] = ()
    summary_figures: Literal["counter", "lareferencia"] = Field(
        "counter", description="whose figures are the views and downloads of summary/stats"
    )
    summary_offset_days: Literal[0, 1] = Field(0, description="1: under the day after, as iDigBio harvests")

    @field_validator("base_path")
    @classmethod
    def _path(cls, value: str) -> str:
        if value and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+/?", value):
            msg = f"{value!r} is no path: write one such as '/api/usage_stats/v2', or '' for none"
            raise ValueError(msg)
        return value.rstrip("/")

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if value != "*" and not re.fullmatch(r"https?://[^/\s]+", value):
                msg = f"{value!r} is no origin: write scheme and host, such as 'https://repository.example.org', or '*'"
                raise ValueError(msg)
        return values

    @field_validator("sources")
    @classmethod
    def _distinct(cls, values: tuple[SourceSetting, ...]) -> tuple[SourceSetting, ...]:
        return no_id_twice(values)


class Collection(_Section):
    """A collection (iDigBio's recordset): all items of sites, or those of prefixes and identifiers, at these sites."""

    id: str = Field(min_length=1)
    name: str | None = None
    sites: tuple[Annotated[int, Field(gt=0, lt=2**31)], ...] = Field((), description="none: all sites")
    identifier_prefixes: tuple[str, ...] = ()
    identifiers: tuple[str, ...] = ()
    identifiers_file: str | None = Field(None, description="a file with an identifier a line")

    @model_validator(mode="after")
    def _of_something(self) -> Collection:
        if not (self.sites or self.of_items):
            msg = "name its sites, identifier_prefixes, identifiers or identifiers_file"
            raise ValueError(msg)
        return self

    @property
    def of_items(self) -> bool:
        """Whether it is a set of items, not whole sites."""
        return bool(self.identifier_prefixes or self.identifiers or self.identifiers_file)


S = TypeVar("S", SourceSetting, Collection)


def no_id_twice(values: tuple[S, ...]) -> tuple[S, ...]:
    """The values, if no id stands twice (case aside); else ValueError."""
    ids = [v.id.lower() for v in values]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        msg = f"id {twice} stands twice"
        raise ValueError(msg)
    return values


Collections = Annotated[tuple[Collection, ...], AfterValidator(no_id_twice)]
