"""EPrints: numbered items, their files, exports."""

from usage_stats_dagster.items.rule import END, LATER_PAGES, Rule

_ITEM = r"(?i)^/(?:archive/|id/eprint/|eprint/)?0*(?P<id>[1-9]\d{0,9})"
_ITEM_ID = "oai:{host}:{id}"  # EPrints' OAI identifiers, archive id the host by default

RULES = (
    Rule(r"(?i)^/(?:archive/)?\d+/\d+\.has\w*/", None, "", "eprints thumbnail", (".has",)),
    Rule(_ITEM + r"/\d{1,3}/[^?]*[^/?]" + END, "request", _ITEM_ID, "eprints file"),
    Rule(
        r"(?i)^/cgi/export/(?:eprint/)?0*(?P<id>[1-9]\d*)/",
        "investigation",
        _ITEM_ID,
        "eprints citation export",
        ("/cgi/export/",),
    ),
    Rule(_ITEM + END, "investigation", _ITEM_ID, "eprints item page"),
    LATER_PAGES,
    Rule(
        r"(?i)^/cgi/(?:facet/)?search(?:/[^?]*)?\?(?:.*&)?"
        r"(?:q|title|creators_name|abstract|keywords|documents|exp)(?:/[^=&]*)?=[^&]",
        "search",
        "",
        "eprints search",
        ("/cgi/",),
    ),
)

YEARS = Rule(r"^/(?:19|20)\d\d(?:/\d\d(?:/.*)?)?/?(?:\?|$)", None, "", "a year's pages")
"""For sites that don't say they are EPrints: there /2024/ is an archive by year rather than the eprint of that number."""
