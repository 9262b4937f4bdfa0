r"""Identifiers: one spelling for one thing, and the part of it that names the source.

What belongs here: rules about OAI identifiers, handles and DOIs that hold everywhere. What does not: the identifier
that a URL carries (`match.py`), what a site's operator wants it to be called (`mapping.py`).

OAI identifiers follow LA Referencia's normalising, which the readers of our documents apply to what they ask for: the
scheme and the path of the part that names the source go (`oai:https://host/rest:1/2` is `oai:host:1/2`). Theirs takes a
slash in the local part for such a path (`oai:host:a/b:1` becomes `oai:host:a:1`, so that two items become one); ours
looks at what stands before the first colon only. Case stays as it is: documents' ids are hashes of the spelling.
"""

from __future__ import annotations

import polars as pl

NORMALISING = (
    (r"(?i)^(oai:)(?:https?://)?([^/:]+)(?:/[^:]*)?(:.*)$", "${1}${2}${3}"),
    (r"(?i)^(?:https?://(?:dx\.|www\.)?doi\.org/(?:doi:)?|doi:\s*)(10\.\d{4,9}/.+)$", "${1}"),
    (
        r"(?i)^(?:https?://(?:www\.)?hdl\.handle\.net/|hdl:\s*|https?://[^/?]+(?:/[^/?]+){0,2}?/handle/)"
        r"([0-9][^/?#]*/[^/?#]+)/?(?:[?#].*)?$",
        "${1}",
    ),
)
"""Pattern and replacement, each tried on what the one before left."""
_ODD = r"(?i)^\s|\s$|^oai:(?:https?:|[^:]*/)|^(?:https?:|doi:|hdl:|10\.)"
"""What normalising may change: most identifiers are as they should be already, and one look spares them the rest."""

_DOI = r"^10\.\d{4,9}/"

PREFIX = r"^(oai:[^/:]+|[0-9][0-9A-Za-z.]*)[:/]"
"""The group is the prefix: `oai:host` of an OAI identifier, what stands before the slash of a handle or DOI."""


def normalise(identifiers: pl.Series) -> pl.Series:
    """One spelling for one thing: surrounding blanks, resolvers and the rest of OAI's bad habits gone; DOIs in lower case.

    Same length and order; null stays null. What is no OAI identifier, handle or DOI stays as it is.
    """
    odd = identifiers.str.contains(_ODD).fill_null(value=False)
    if not odd.any():
        return identifiers
    plain = identifiers.filter(odd).to_frame("i").select(normalised(pl.col("i"))).to_series()
    return identifiers.clone().scatter(odd.arg_true(), plain)  # scatter writes in place


def normalised(identifier: pl.Expr) -> pl.Expr:
    """`normalise` as an expression."""
    plain = identifier.str.strip_chars()
    for pattern, replacement in NORMALISING:
        plain = plain.str.replace(pattern, replacement)
    return pl.when(plain.str.contains(_DOI)).then(plain.str.to_lowercase()).otherwise(plain)


def identifier_prefix(identifiers: pl.Series) -> pl.Series:
    """What names the source: `oai:host` of an OAI identifier, the prefix of a handle or DOI, else null."""
    return identifiers.str.extract(PREFIX, 1)
