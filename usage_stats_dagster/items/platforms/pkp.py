"""PKP's applications: OJS 2 and 3 (journals), OPS (preprints), OMP (books); with or without index.php and journal path."""

from usage_stats_dagster.items.rule import END, LATER_PAGES, REST, Rule

_UNDER = r"(?i)^(?:/[^/?]+){0,4}?"
_ARTICLE = _UNDER + r"/(?P<kind>article|preprint)/"
_ID = r"(?P<id>[^/?&]+)"  # a number, or the public id or URL path that the editor chose
_ARTICLE_ID = "oai:{host}:{kind}/{id}"  # OJS: oai:<repository id of config.inc.php>:article/<number>
_TOOL_ID = "oai:{host}:article/{id}"
_BOOK_ID = "oai:{host}:monograph/{id}"
_PAGES = ("/article/", "/preprint/")

RULES = (
    Rule(
        _ARTICLE + r"(?:download|viewfile)/" + _ID + REST,
        "request",
        _ARTICLE_ID,
        "ojs galley file",
        ("/download/", "/viewfile/"),
        "lower",
    ),
    # OJS 2 writes an HTML galley, which its URL calls so, into the page itself.
    Rule(
        _ARTICLE + r"view(?:article)?/" + _ID + r"/html?[^/?]*" + END,
        "request",
        _ARTICLE_ID,
        "ojs full text page",
        _PAGES,
        "lower",
    ),
    # /view/ID, its versions, and /view/ID/GALLEY, which frames the file (PDF and HTML alike in OJS 3): the browser
    # fetches that by /download/, and there OJS's own usage statistics count it.
    Rule(
        _ARTICLE + r"view(?:article|pdfinterstitial|downloadinterstitial)?/" + _ID + REST,
        "investigation",
        _ARTICLE_ID,
        "ojs article page",
        _PAGES,
        "lower",
    ),
    # OJS counts supplementary files apart from the article's full text.
    Rule(
        _ARTICLE + r"(?:downloadsuppfile|viewsuppfile)/" + _ID + REST,
        "investigation",
        _ARTICLE_ID,
        "ojs supplementary file",
        ("suppfile/",),
        "lower",
    ),
    Rule(_UNDER + r"/rt/printerfriendly/" + _ID + REST, "request", _TOOL_ID, "ojs print view", ("/rt/",), "lower"),
    Rule(
        _UNDER + r"/rt/(?:metadata|capturecite|bio|context|emailauthor|emailcolleague|findingreferences)/" + _ID + REST,
        "investigation",
        _TOOL_ID,
        "ojs reading tools",
        ("/rt/",),
        "lower",
    ),
    Rule(
        _UNDER + r"/citationstylelanguage/(?:get|download)/[^?]*\?(?:.*&)?submissionid=(?P<id>\d+)",
        "investigation",
        _TOOL_ID,
        "ojs citation export",
        ("/citationstylelanguage/",),
        "lower",
    ),
    Rule(_UNDER + r"/catalog/download/" + _ID + REST, "request", _BOOK_ID, "omp file", ("/catalog/",), "lower"),
    Rule(
        _UNDER + r"/catalog/(?:book|view)/" + _ID + REST,
        "investigation",
        _BOOK_ID,
        "omp book page",
        ("/catalog/",),
        "lower",
    ),
    LATER_PAGES,
    Rule(
        _UNDER + r"/search(?:/(?:index|search|results|advancedresults))?/?\?(?:.*&)?"
        r"(?:query|simplequery|authors?|title|abstract)=[^&]",
        "search",
        "",
        "ojs search",
        ("/search",),
    ),
)
