"""Hits as requests to Matomo's tracking API, and the marks by which each is found again.

What belongs here: the fields of a request (fixtures' SEMANTICS §3: what Matomo's own importer sends) and the form of a
mark. What does not: batches and answers (`sender.py`).

**Without a raw IP.** The lake keeps the network of an address and a keyed hash per (IP, user agent). Matomo needs an
address only to tell visitors apart and to know their country. So a hit without its address is sent with the network as
`cip`, the hash as `cid` (the visitor's id: Matomo then looks for the visit by it alone) and the country as `country`.
Where `rules.store_ips` keeps addresses, the request is the importer's own: address, and neither `cid` nor `country`.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from usage_stats_dagster import engine
from usage_stats_dagster.settings import Site

MARK_DIGITS = 6
MARKS = 36**MARK_DIGITS
"""How many marks there are: 2.2 thousand million a site, then they start again; look-ups are bound to a time range."""

LONGEST_PATH = 1024
_ALPHABET = pl.Series("digit", list("0123456789abcdefghijklmnopqrstuvwxyz"))
_DOWNLOAD = 3

c = pl.col


def marks(first_number: int, count: int) -> list[str]:
    """Marks of consecutive numbers: six lower-case letters and digits, the width of Matomo's column idpageview."""
    numbers = (pl.int_range(first_number, first_number + count, dtype=pl.Int64, eager=True)) % MARKS
    digits = [_ALPHABET.gather(numbers // 36**k % 36).alias(str(k)) for k in reversed(range(MARK_DIGITS))]
    return pl.DataFrame(digits).select(pl.concat_str(pl.all())).to_series().to_list() if count else []


def marked(requests: Sequence[str], first_number: int) -> list[str]:
    """The requests (JSON objects with at least one field) with their mark as `pv_id`, the id of a page view.

    Matomo stores it with the action, of whatever type (log_link_visit_action.idpageview), and does nothing else with it
    where a request carries no page performance.
    """
    return [f'{{"pv_id":"{m}",{r[1:]}' for m, r in zip(marks(first_number, len(requests)), requests, strict=True)]


def requests_of(hits: pl.DataFrame, site: Site, *, with_addresses: bool) -> pl.Series:
    """The tracking request of each hit (schemas.HITS) as a JSON object, in the order of the rows.

    `with_addresses`: `location_ip` holds whole addresses. Raises ValueError when the site has no `url`: without it a
    path is no URL.
    """
    if site.url is None:
        msg = f"sites: site {site.id} needs its url: Matomo takes no path without the address before it"
        raise ValueError(msg)
    scheme = site.url.split("://", 1)[0]
    path = c("url").str.slice(0, LONGEST_PATH)
    base = pl.when(c("host").is_null()).then(pl.lit(site.url)).otherwise(pl.format(scheme + "://{}", "host"))
    url = pl.when(path.str.starts_with("/")).then(base + path).otherwise(path)
    agent = pl.when(c("user_agent").fill_null("").str.len_bytes() > 0).then("user_agent").otherwise(pl.lit("-"))
    address = c("location_ip").fill_null("0.0.0.0")  # noqa: S104  (what Matomo stores for no address)
    code = pl.concat_str(pl.lit('{"1":["HTTP-code","'), "http_status", pl.lit('"]}'))
    fields: dict[str, pl.Expr] = {
        "idsite": pl.lit(site.id),
        "rec": pl.lit(1),
        "apiv": pl.lit(1),
        "url": url,
        "urlref": c("url_referrer").fill_null(""),
        "cip": address,
        "cdt": c("time").dt.strftime("%Y-%m-%d %H:%M:%S"),
        "ua": agent,
        "dp": pl.lit(1),
        "queuedtracking": pl.lit(0),
        "cvar": code,
    }
    if not with_addresses:
        hits = engine.collect(engine.hexadecimal(engine.wrap(hits.lazy()), cid="visitor"), streaming=False)
        fields |= {"cid": c("cid"), "country": c("location_country").fill_null("xx")}
    named = [value.alias(name) for name, value in fields.items()]
    view = pl.struct(named).struct.json_encode()
    download = pl.struct([*named, url.alias("download")]).struct.json_encode()
    return hits.select(
        pl.when(c("action_type") == _DOWNLOAD).then(download).otherwise(view).alias("request")
    ).to_series()


def has_addresses(hits: pl.DataFrame) -> bool:
    """Whether `location_ip` holds whole addresses, as `rules.store_ips` makes it, and not networks."""
    return bool(hits.select((~c("location_ip").str.contains(r"(\.0\.0|::)$")).any()).item())
