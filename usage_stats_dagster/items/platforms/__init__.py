"""What URLs mean on each platform: one module a platform, its rules as data.

What belongs here: patterns, and why a URL counts as it does. What does not: a site's own rules and the order in which
rules are tried (`../rules.py`), how they are applied (`../match.py`).

Case is ignored throughout: where the server minds it, the wrong spelling was a 404 and never became a hit. COUNTER
R5.1 §3.3: the content itself is a request, any other act about the item an investigation; that a request is an
investigation too is the metrics' business. One act must not count as two requests because the platform answers it by
two hits: where a page does nothing but frame a file that the browser then fetches by its own URL, the page is the
investigation and the file the request.
"""

from usage_stats_dagster.items.platforms import dspace, eprints, invenio, pkp, scielo
from usage_stats_dagster.items.rule import Rule

PLATFORMS: dict[str, tuple[Rule, ...]] = {
    # A repository's logs span its migration, so both names read old and new URLs; the name says which are tried first.
    "dspace": (*dspace.LEGACY, *dspace.MODERN, *dspace.COMMON),
    "dspace7": (*dspace.MODERN, *dspace.LEGACY, *dspace.COMMON),
    "ojs": pkp.RULES,
    "scielo": (*scielo.RULES, *pkp.RULES),  # SciELO Preprints runs OPS
    "invenio": invenio.RULES,
    "eprints": eprints.RULES,
    "generic": (),
    # EPrints last: its item pages are bare numbers.
    "auto": (
        *dspace.LEGACY,
        *dspace.MODERN,
        *dspace.COMMON,
        *scielo.RULES,
        *pkp.RULES,
        *invenio.RULES,
        eprints.YEARS,
        *eprints.RULES,
    ),
}
"""The rules by the site's `platform`, in the order in which they are tried."""
