"""Invenio and InvenioRDM (Zenodo's kind): records and their files."""

from usage_stats_dagster.items.rule import END, LATER_PAGES, Rule

_ID = r"(?P<id>\d+|[0-9a-z]{5}-[0-9a-z]{5})"
_RECORD = r"(?i)^/records?/" + _ID
_RECORD_ID = "oai:{host}:{id}"  # Invenio's OAI identifiers, prefix the host by default
_PAGES = ("/records/", "/record/")

RULES = (
    # Thumbnails, and the frame with a preview that a record's page loads by itself.
    Rule(
        _RECORD + r"/(?:preview/|thumb|files/[^?]*\?(?:.*&)?(?:subformat=icon|preview=1))",
        None,
        "",
        "invenio preview",
        ("/preview/", "/thumb", "subformat=icon", "preview=1"),
    ),
    Rule(_RECORD + r"/files/[^/?]", "request", _RECORD_ID, "invenio file", ("/files/",), "lower"),
    Rule(
        r"(?i)^/api/records/" + _ID + r"/(?:files/[^?]+/content|files-archive)" + END,
        "request",
        _RECORD_ID,
        "invenio file by rest",
        ("/api/records/",),
        "lower",
    ),
    Rule(r"(?i)^/api/(?:records|communities|user|vocabularies)\b", None, "", "invenio rest call", ("/api/",)),
    Rule(
        _RECORD + r"(?:/(?:export/[^?]*|references|citations|files))?" + END,
        "investigation",
        _RECORD_ID,
        "invenio record page",
        _PAGES,
        "lower",
    ),
    Rule(
        r"(?i)^/doi/(?P<doi>10\.\d{4,9}/[^?]*[^/?])" + END,
        "investigation",
        "{doi}",
        "invenio doi page",
        ("/doi/10.",),
        "lower",
    ),
    LATER_PAGES,
    Rule(
        r"(?i)^/(?:search|communities/[^/?]+/(?:records|search))/?\?(?:.*&)?(?:q|p|f)=[^&]",
        "search",
        "",
        "invenio search",
        ("/search", "/communities/"),
    ),
)
