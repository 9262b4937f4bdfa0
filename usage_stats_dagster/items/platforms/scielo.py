"""SciELO: the classic site (scielo.php, PID version 2) and the new one (/j/…/a/…, PID version 3).

Which pages are requests follows the classification of SciELO's own counter (full text in any format is one, abstract,
citation and translation services are not).
"""

from usage_stats_dagster.items.rule import END, Rule

_PHP = r"(?i)^(?:/[^/?]+){0,2}?/"
_PID2 = r"pid[=_](?P<pid>s\d{4}-\d{3}[\dx]\d{13})(?:[^0-9]|$)"
_CLASSIC = _PHP + r"scielo\.php[/?].*?" + _PID2
_SERVICE = r"\.php\?(?:.*&)?" + _PID2
_PID3 = r"(?P<pid>[0-9a-z]{23})"  # case counts


def _scripts(*names: str) -> tuple[str, ...]:
    """Parameters come in any order, and once came as a path; so the script is asked for apart from the PID."""
    return tuple(f"script{separator}{n}" for n in names for separator in "=_")


RULES = (
    Rule(
        # sci_pdf is the page that sends the browser on to the file, which counts when it comes.
        _CLASSIC,
        "investigation",
        "{pid}",
        "scielo abstract, citation or pdf page",
        _scripts("sci_abstract", "sci_arttext_pr", "sci_isoref", "sci_pdf"),
        "upper",
    ),
    Rule(_CLASSIC, "request", "{pid}", "scielo full text", _scripts("sci_arttext"), "upper"),
    Rule(_CLASSIC, "investigation", "{pid}", "scielo citation export", ("scielo.php?download",), "upper"),
    Rule(
        _PHP + r"(?:article_plus|epdf|articlexml)" + _SERVICE,
        "request",
        "{pid}",
        "scielo full text (plus, epdf, xml)",
        ("/article_plus.php", "/epdf.php", "/articlexml.php"),
        "upper",
    ),
    Rule(
        r"(?i)/scieloorg/php/(?:citedscielo|reference|related|similar|translate)" + _SERVICE,
        "investigation",
        "{pid}",
        "scielo services about an article",
        ("/scieloorg/php/",),
        "upper",
    ),
    # A PDF's path holds no PID: the path identifies, one for all languages (en_a01.pdf); a file of pairs maps it.
    Rule(
        r"(?i)^/(?:pdf|img/(?:revistas|fbpe)|media/assets)/(?P<journal>[a-z]{2,20})/(?P<issue>[vn][^/?]*)/(?:[a-z]{2}_)?"
        r"(?P<file>[^/?]+?)\.pdf" + END,
        "request",
        "pdf/{journal}/{issue}/{file}.pdf",
        "scielo pdf",
        (".pdf",),
        "lower",
    ),
    Rule(
        r"(?i)^/j/[^/?]+/a/" + _PID3 + r"/abstract" + END,
        "investigation",
        "{pid}",
        "scielo abstract by pid v3",
        ("/abstract",),
    ),
    # The page is the full text; ?format=pdf and ?format=xml are the same article in other formats.
    Rule(r"(?i)^/j/[^/?]+/a/" + _PID3 + END, "request", "{pid}", "scielo full text by pid v3", ("/j/",)),
    Rule(
        r"(?i)^/(?:media/assets/)?documentstore/[^/?]+/" + _PID3 + r"/[^/?]+\.pdf" + END,
        "request",
        "{pid}",
        "scielo stored pdf",
        ("documentstore/",),
    ),
    Rule(r"(?i)/wxis\.exe/[^?]*\?(?:.*&)?exprsearch=[^&]", "search", "", "scielo search", ("/wxis.exe/",)),
)
