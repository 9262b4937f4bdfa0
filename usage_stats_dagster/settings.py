"""Settings: `usage_stats.toml`, overridden by `USAGE_STATS_…` environment variables, checked, explained.

What belongs here: every key, its default, its check and the message for a wrong one. What does not: what a setting
does. Secrets are read from the environment only (`secrets.py`), never from the file.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from usage_stats_dagster.settings_api import ApiSection, Collections

CONFIG_VARIABLE = "USAGE_STATS_CONFIG"
DEFAULT_CONFIG = "usage_stats.toml"

Platform = Literal["auto", "dspace", "dspace7", "ojs", "scielo", "eprints", "invenio", "generic"]
Level = Literal["R", "N", "L"]
Step = Literal["robots", "behaviour", "assets", "unidentified", "not_delivered", "double_click"]


class SettingsError(Exception):
    """The settings can't be used: the message names each key, what is wrong with it and the choices."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as e:
        msg = f"not a regular expression: {e}"
        raise ValueError(msg) from e
    return value


Regex = Annotated[str, BeforeValidator(_regex)]


class PlatformSection(_Section):
    """The platform that reports: one time zone for days, hours and months alike (COUNTER R5.1 7.3)."""

    name: str = "usage-stats"
    time_zone: str = "UTC"
    start_date: date = date(2000, 1, 1)
    grace_seconds: int = Field(
        60, ge=0, description="a log changed less than this ago is left to the sensor's next tick"
    )

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as e:
            msg = f"no such time zone {value!r}: use an IANA name such as 'UTC' or 'America/Sao_Paulo'"
            raise ValueError(msg) from e
        return value


class StorageSection(_Section):
    """Where the lake's tables lie, directly under `root`: a folder, or `s3://bucket/prefix`. Credentials are never here."""

    root: str = "data/lake"
    endpoint: str | None = Field(None, description="address of an S3 server that is not AWS")
    region: str | None = None
    path_style: bool | None = Field(None, description="bucket in the path, not in the host; default: with an endpoint")
    connections: int = Field(8, ge=1, le=64, description="requests to S3 at a time")
    lease_seconds: float = Field(60, ge=2, le=3600, description="a dead writer's turn on S3 ends so long after")
    scratch: str | None = Field(None, description="local folder for files on their way to and from S3")

    @field_validator("endpoint")
    @classmethod
    def _endpoint(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"^https?://[^/@\s]+/?$", value):
            msg = f"{value!r} is no server's address: use one such as 'https://s3.example.org:9000', without bucket or password"
            raise ValueError(msg)
        return value


class LedgerSection(_Section):
    """The ledger's database: SQLite by default, any SQLAlchemy URL."""

    url: str = "sqlite:///data/ledger.db"


class MatomoSection(_Section):
    """Where visits and events come from, and whether hits are sent to a Matomo."""

    mode: Literal["embedded", "database", "api"] = "embedded"
    url: str | None = None
    database_url: str | None = None
    table_prefix: str = "matomo_"
    send: bool = False
    send_batch: int = Field(200, ge=1, le=5000, description="requests in a bulk request")
    request_seconds: float = Field(
        120, ge=0, description="longest time that Matomo's server works on a request whose connection broke"
    )
    timeout_seconds: float = Field(120, gt=0, description="how long to wait for an answer")
    patience_seconds: float = Field(900, ge=0, description="how long to try again before a run gives up for now")
    live_page: int = Field(500, ge=2, le=20_000, description="visits asked of the Live API at a time")
    client: Literal["connectorx", "pymysql"] = Field(
        "connectorx", description="what reads the database; pymysql is slower"
    )
    connections: int = Field(3, ge=1, le=8, description="days of a site that are read at a time")
    settle_minutes: int = Field(30, ge=0, description="a day is open until so long after its end: its visits may grow")
    custom_variables: tuple[Annotated[int, Field(ge=1, le=99)], ...] = Field((), description="slots kept as columns")
    custom_dimensions: tuple[Annotated[int, Field(ge=1, le=999)], ...] = Field((), description="kept as columns")
    sources_url: str | None = Field(None, description="LA Referencia's source metadata database")
    sources_folder: str | None = Field(None, description="where the map files lie that the metadata name")

    @property
    def imports_logs(self) -> bool:
        """Whether logs play a part, and so decide how far a day has come: as the source, or as what is sent to Matomo."""
        return self.mode == "embedded" or self.send

    @model_validator(mode="after")
    def _together(self) -> MatomoSection:
        if self.send and self.mode == "database":
            msg = "send = true goes with mode = 'embedded' or 'api' in this version, not with 'database'"
            raise ValueError(msg)
        if (self.send or self.mode == "api") and not self.url:
            msg = "url is needed to send or to read by the API: the address of Matomo, such as 'https://matomo.example.org'"
            raise ValueError(msg)
        return self


class IndexSection(_Section):
    """Where documents are indexed: the embedded index (one SQLite file) or OpenSearch."""

    kind: Literal["embedded", "opensearch"] = "embedded"
    url: str | None = Field(None, description="OpenSearch's address")
    path: str = Field("data/index.db", description="the embedded index's file")
    prefix: str = Field("usage_stats", description="a site's documents are asked from `{prefix}-{idsite}`")
    replicas: int = Field(1, ge=0, le=10, description="copies of a site's index beside the first")
    ca: str | None = Field(None, description="a file of certificate authorities to trust, in place of the usual ones")
    verify: bool = Field(True, description="whether the server's certificate is checked")
    aws_region: str | None = Field(None, description="signs requests for Amazon OpenSearch Service in this region")
    timeout_seconds: float = Field(120, gt=0, description="how long to wait for an answer")
    patience_seconds: float = Field(300, ge=0, description="how long to try again before a run gives up for now")
    bulk_documents: int = Field(5000, ge=1, le=50_000, description="documents in a bulk request")
    bulk_requests: int = Field(2, ge=1, le=16, description="bulk requests in flight")

    @field_validator("prefix")
    @classmethod
    def _prefix(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", value):
            msg = f"{value!r} can't open the name of an index: use lower case letters, digits, _ and -"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _together(self) -> IndexSection:
        if self.kind == "opensearch" and not re.fullmatch(r"https?://[^/\s@]+(/\S*)?", self.url or ""):
            msg = (
                f"url = {self.url!r}: kind = 'opensearch' needs the server's address, such as 'https://search.example.org:9200'; "
                "user and password come from USAGE_STATS_OPENSEARCH_USER and USAGE_STATS_OPENSEARCH_PASSWORD"
            )
            raise ValueError(msg)
        if self.ca and not Path(self.ca).is_file():
            msg = f"ca = {self.ca!r} is no file"
            raise ValueError(msg)
        return self


class RulesSection(_Section):
    """What counts. With the lists' hashes these make the rules version stored with each day."""

    steps: tuple[Step, ...] = ("robots", "behaviour", "assets", "unidentified", "not_delivered", "double_click")
    robots: tuple[Literal["counter", "crawler-user-agents"], ...] = ("counter", "crawler-user-agents")
    robots_extra: tuple[Regex, ...] = ()
    robots_allow: tuple[Regex, ...] = (r"CUBOT",)
    behaviour_few_actions: int = Field(10, ge=0)
    behaviour_many_actions: int = Field(100, ge=1)
    behaviour_seconds_per_action: int = Field(2, ge=0)
    assets: Regex = r"(?i)\.[a-z0-9]{2,5}\.(jpg|jpeg|png)$"
    double_click_seconds: int = Field(30, ge=0, le=3600)
    delivered_methods: tuple[str, ...] = ("GET",)
    delivered_statuses: tuple[int, ...] = (200, 304)
    visit_seconds: int = Field(1800, ge=1)
    spam_referrers: tuple[str, ...] = ()
    country_database: str | None = Field(None, description="an MMDB file; without it the bundled registry delegations")
    store_ips: bool = False


class WarningsSection(_Section):
    """When something looks wrong enough to be told: early warnings, which never stop a run or change a figure."""

    busy_hour_hits: int = Field(20, ge=1, description="an empty hour is missing when those around it have so many hits")
    late_days: int = Field(1, ge=0, description="a day may be without figures for so many days after its end")
    server_days: int = Field(7, ge=1, le=366, description="days before that a server is compared with")
    server_share: float = Field(
        0.01, ge=0, le=1, description="a server with less than this of its usual lines is silent"
    )
    server_lines: int = Field(100, ge=1, description="a server that usually has fewer lines is not looked at")
    spike_months: int = Field(
        12, ge=1, le=120, description="months before that a month is compared with (COUNTER 7.12)"
    )
    spike_least_months: int = Field(3, ge=1, le=120, description="with fewer months before there is nothing to compare")
    spike_factor: float = Field(3, gt=0, description="a spike is at least so many times the mean …")
    spike_plus: float = Field(100, ge=0, description="… and so many more")
    drop_share: float = Field(0.01, ge=0, le=1, description="a month below this share of the mean is a drop …")
    drop_mean: float = Field(20, ge=0, description="… where the mean is at least this")
    recent_days: int = Field(28, ge=7, le=366, description="days before that shares are compared with")
    share_events: int = Field(200, ge=1, description="a day of fewer events has no share to speak of")
    robots_change: float = Field(0.15, ge=0, le=1, description="change of the robots' share, up or down")
    unmapped_share: float = Field(
        0.5, ge=0, le=1, description="share of content without an item that is too much anyhow"
    )
    unmapped_rise: float = Field(0.1, ge=0, le=1, description="rise of that share over the days before")


class ExpectedFiles(_Section):
    """How many logs a site expects a day, from one date to another (both included)."""

    files: int = Field(ge=0)
    since: date | None = None
    until: date | None = None


class ItemRule(_Section):
    """An own rule: a named-group regex over path and query, and what a match means."""

    pattern: Regex
    action: Literal["investigation", "request", "search"]
    identifier: str = "{id}"


class IdentifierMap(_Section):
    """How identifiers are rewritten after normalising: by a regex and its replacement, or by a file of pairs."""

    regex: Regex | None = None
    replace: str = ""
    file: str | None = None


class Site(_Section):
    """One site: a repository, journal platform or aggregator."""

    id: int = Field(gt=0, lt=2**31)
    name: str | None = None
    url: str | None = None
    level: Level = "R"
    country: str | None = Field(None, pattern=r"^[A-Za-z]{2}$")
    platform: Platform = "auto"
    logs: tuple[str, ...] | None = None
    path_pattern: Regex | None = None
    files_per_day: int | tuple[ExpectedFiles, ...] | None = None
    format: str | None = None
    format_regex: Regex | None = None
    format_time: str | None = None
    exclude: tuple[Regex, ...] = ()
    item_rules: tuple[ItemRule, ...] = ()
    identifier: str | None = Field(None, description="template over the rule's groups and {host}; default by platform")
    identifier_map: IdentifierMap | None = None
    identifier_slot: Literal["auto", "url"] | Annotated[int, Field(ge=1, le=99)] = Field(
        "auto", description="Matomo's custom variable that holds the identifier; url: by the address"
    )
    country_slot: int = Field(
        2, ge=0, le=99, description="Matomo's custom variable that begins with the item's country; 0: none"
    )
    grain: Literal["day", "month"] = "day"

    @field_validator("url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"^https?://[^/\s]+", value):
            msg = f"{value!r} is no URL: use the site's address, such as 'https://repository.example.org'"
            raise ValueError(msg)
        return value.rstrip("/") if value else None

    @property
    def title(self) -> str:
        """What people call the site."""
        return self.name or f"site {self.id}"

    @property
    def host(self) -> str | None:
        """The host of the site's address, lower case."""
        return re.sub(r"^https?://([^/:]+).*$", r"\1", self.url).lower() if self.url else None

    def expected_files(self, day: date) -> int | None:
        """Logs expected for the day; None when the site does not say."""
        if self.files_per_day is None or isinstance(self.files_per_day, int):
            return self.files_per_day
        for e in self.files_per_day:
            if (e.since is None or e.since <= day) and (e.until is None or day <= e.until):
                return e.files
        return None


class Settings(BaseSettings):
    """All settings. Sites that are not listed are made from numeric folders under `logs_dir` when none is listed."""

    model_config = SettingsConfigDict(
        env_prefix="USAGE_STATS_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    platform: PlatformSection = PlatformSection()
    storage: StorageSection = StorageSection()
    ledger: LedgerSection = LedgerSection()
    matomo: MatomoSection = MatomoSection()
    index: IndexSection = IndexSection()
    rules: RulesSection = RulesSection()
    warnings: WarningsSection = WarningsSection()
    sites: tuple[Site, ...] = ()
    api: ApiSection = ApiSection()
    collections: Collections = ()
    logs_dir: str = "logs"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, code over both."""
        del dotenv_settings, file_secret_settings
        path = config_path()
        toml = (TomlConfigSettingsSource(settings_cls, path),) if path else ()
        return (init_settings, env_settings, *toml)

    @model_validator(mode="after")
    def _distinct_sites(self) -> Settings:
        ids = [s.id for s in self.sites]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            msg = f"sites: id {twice} stands twice"
            raise ValueError(msg)
        return self

    def site(self, idsite: int) -> Site:
        """The site of that id; an unlisted one has the defaults."""
        for s in self.sites:
            if s.id == idsite:
                return s
        return Site(id=idsite)

    @property
    def zone(self) -> ZoneInfo:
        """The platform's time zone."""
        return ZoneInfo(self.platform.time_zone)

    def day_start(self, day: date) -> datetime:
        """Midnight that opens the day in the platform's zone, as UTC."""
        return day_start(self.platform.time_zone, day)

    def has_day(self, day: date) -> bool:
        """Whether there is such a day in the platform's zone: Pacific/Apia had no 30 December 2011."""
        return self.day_after(self.day_before(day)) == day

    def day_after(self, day: date) -> date:
        """The next day that there is in the platform's zone."""
        return _next_day(self.platform.time_zone, day, 1)

    def day_before(self, day: date) -> date:
        """The day before, of those that there are."""
        return _next_day(self.platform.time_zone, day, -1)

    def today(self) -> date:
        """Today in the platform's zone: the last day that has a partition."""
        return datetime.now(self.zone).date()


def day_start(zone: str, day: date) -> datetime:
    """Midnight that opens the day in the zone, as UTC."""
    return datetime.combine(day, time(), tzinfo=ZoneInfo(zone)).astimezone(UTC)


@lru_cache(maxsize=100_000)
def _next_day(zone: str, day: date, step: int) -> date:
    found = day + timedelta(step)
    while day_start(zone, found) == day_start(zone, found + timedelta(1)):
        found += timedelta(step)
    return found


def config_path() -> Path | None:
    """The settings file: USAGE_STATS_CONFIG, else usage_stats.toml of the working folder if there is one."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        path = Path(named)
        if not path.is_file():
            msg = f"{CONFIG_VARIABLE} names {named}, which is no file"
            raise SettingsError(msg)
        return path
    path = Path(DEFAULT_CONFIG)
    return path if path.is_file() else None


def load_settings(**overrides: Any) -> Settings:  # noqa: ANN401
    """The settings in force; raises SettingsError whose message names key, fault and choices."""
    try:
        return Settings(**overrides)
    except ValidationError as e:
        raise SettingsError(_explain(e)) from e
    except tomllib.TOMLDecodeError as e:
        msg = f"{config_path()}: not TOML: {e}"
        raise SettingsError(msg) from e
    except ValueError as e:  # a nested variable that is not JSON, among others
        raise SettingsError(str(e)) from e


@lru_cache(maxsize=8)
def _cached(config: str | None, mtime: int, env: tuple[tuple[str, str], ...]) -> Settings:
    del config, mtime, env
    return load_settings()


def current_settings() -> Settings:
    """The settings in force, read again only when the file or the environment changed."""
    path = config_path()
    env = tuple(sorted((k, v) for k, v in os.environ.items() if k.upper().startswith("USAGE_STATS_")))
    return _cached(str(path) if path else None, path.stat().st_mtime_ns if path else 0, env)


def _explain(error: ValidationError) -> str:
    path = config_path()
    lines = [f"the settings{f' in {path}' if path else ''} can't be used:"]
    for e in error.errors():
        key = ".".join(str(p) for p in e["loc"] if not (isinstance(p, str) and p[:1].isupper())) or "(all)"
        message = e["msg"].removeprefix("Value error, ")
        if e["type"] == "extra_forbidden":
            message = f"no such key; the keys here are: {', '.join(_keys_near(e['loc']))}"
        given = "" if e["type"] in ("extra_forbidden", "missing", "value_error") else f" (is {e['input']!r})"
        lines.append(f"  {key}: {message}{given}")
    return "\n".join(lines)


def _keys_near(loc: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in loc[:-1]:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        inner = (
            [field.annotation, *get_args(field.annotation)] if field is not None else []
        )  # a section, or a tuple of them
        model = next((i for i in inner if isinstance(i, type) and issubclass(i, BaseModel)), model)
    return list(model.model_fields)


def settings_hash(*parts: BaseModel | str | int | None) -> str:
    """A short hash over settings that decide figures: 16 hexadecimal digits."""
    text = "\n".join(p.model_dump_json() if isinstance(p, BaseModel) else repr(p) for p in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
