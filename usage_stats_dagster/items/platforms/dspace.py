"""DSpace: handles (5 and 6, xmlui and jspui) and UUIDs (7 and later)."""

from usage_stats_dagster.items.rule import END, LATER_PAGES, Rule

_UNDER = r"(?i)^(?:/[^/?]+){0,3}?"  # under /xmlui, /jspui, /repository …
_HANDLE = r"(?P<handle>[0-9][0-9a-z.]*/[^/?&\s]+)"
_HANDLE_ID = "oai:{host}:{handle}"  # DSpace's own OAI identifiers, prefix oai, the host by default
_UUID = r"(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_FILE = r"[^?]*[^/?]"

LEGACY = (
    Rule(
        _UNDER + r"/bitstream/" + _FILE + r"\.[a-z0-9]{2,5}\.(?:jpe?g|png)(?:\?|$)",
        None,
        "",
        "dspace thumbnail",
        (".jpg", ".jpeg", ".png"),
    ),
    # DSpace's own statistics count the ORIGINAL bundle; licences and extracted text lie in other bundles.
    Rule(
        _UNDER
        + r"/bitstream/[^?]*/(?:licen[cs]e(?:\.txt|_rdf|_text|_url)|[^/?]+\.(?:pdf|docx?|pptx?|html?)\.txt)"
        + END,
        None,
        "",
        "dspace licence or extracted text",
        ("/license", "/licence", ".txt"),
    ),
    Rule(
        _UNDER + r"/bitstream/(?:handle/)?" + _HANDLE + r"/" + _FILE + END,
        "request",
        _HANDLE_ID,
        "dspace bitstream",
        ("/bitstream/",),
    ),
    # METS documents, feeds, OAI and REST of a handle are read by programs.
    Rule(
        _UNDER + r"/(?:metadata|rest|oai|sword|swordv2|feed|open-search|themes)/",
        None,
        "",
        "dspace machine interface",
        ("/metadata/", "/rest/", "/oai/", "/sword", "/feed/", "/open-search/", "/themes/"),
    ),
    Rule(_UNDER + r"/handle/" + _HANDLE + END, "investigation", _HANDLE_ID, "dspace item page", ("/handle/",)),
)
"""A log can't tell an item's handle from a collection's: both are counted under their handle."""

MODERN = (
    # The bytes of a file: where the interface's download page, too, sends the browser.
    Rule(
        _UNDER + r"/api/core/bitstreams/" + _UUID + r"/content" + END,
        "request",
        "{uuid}",
        "dspace bitstream content",
        ("/content",),
        "lower",
    ),
    # One page makes dozens of REST calls, and harvesters live on them: none is an act of its own.
    Rule(
        _UNDER
        + r"/api/(?:core|discover|statistics|authn|authz|config|eperson|integration|pid|submission|system|workflow)\b",
        None,
        "",
        "dspace rest call",
        ("/api/",),
    ),
    Rule(_UNDER + r"/statistics/(?:items|entities)/", None, "", "dspace statistics page", ("/statistics/",)),
    # Rendered on the server it answers with a redirect, which is no hit; DSpace's own Matomo tracking sends this URL.
    Rule(
        _UNDER + r"/bitstreams/" + _UUID + r"/download" + END,
        "request",
        "{uuid}",
        "dspace bitstream download",
        ("/bitstreams/",),
        "lower",
    ),
    Rule(
        _UNDER + r"/(?:items|entities/[a-z]+)/" + _UUID + r"(?:/full|/request-a-copy)?" + END,
        "investigation",
        "{uuid}",
        "dspace item page by uuid",
        ("/items/", "/entities/"),
        "lower",
    ),
)
"""A URL by UUID holds no handle, and a bitstream's UUID is not its item's: a file of pairs maps both (docs)."""

COMMON = (
    LATER_PAGES,
    # The bare page is a form, or a list of everything: a search has a term or a filter.
    Rule(
        r"(?i)^(?:/[^/?]+){0,5}?/(?:discover|simple-search|advanced-search|search)/?\?(?:.*&)?"
        r"(?:q|query\d?|filterquery|filter(?:_value)?_\d+|fq|f\.[^=&]+)=[^&]",
        "search",
        "",
        "dspace search",
        ("search?", "search/?", "discover?", "discover/?"),
    ),
    # browse, discover, submit belong to collections; statistics are about the usage, not about the item.
    Rule(_UNDER + r"/handle/" + _HANDLE + r"/[^?]", None, "", "dspace page below a handle", ("/handle/",)),
)
