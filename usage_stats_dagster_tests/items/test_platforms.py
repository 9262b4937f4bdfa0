"""One table a platform: what each kind of URL means, with the host repo.example.org."""

import polars as pl
import pytest

from usage_stats_dagster.items.match import identify
from usage_stats_dagster.settings import Site

UUID = "1f2e3d4c-0000-4aaa-8bbb-0123456789ab"
V2 = "S0034-89102010000600001"
V3 = "7zRJ8yBqDjv8dWhSjLPXkcR"
H = "oai:repo.example.org:123456789/5"
INV, REQ, FIND = "investigation", "request", "search"

DSPACE = [
    ("/handle/123456789/5", INV, H),
    ("/handle/123456789/5/", INV, H),
    ("/xmlui/handle/123456789/5?show=full", INV, H),
    ("/jspui/handle/123456789/5?mode=full&locale=es", INV, H),
    ("/repositorio/tesis/handle/123456789/5", INV, H),
    ("/handle/123456789/5;jsessionid=0A1B2C?show=full", INV, H),
    ("/handle/123456789/5#abstract", INV, H),
    ("/HANDLE/123456789/5", INV, H),
    ("/handle/123456789%2F5", INV, H),
    ("//handle//123456789/5", INV, H),
    ("https://repo.example.org/handle/123456789/5", INV, H),
    ("repo.example.org/handle/123456789/5", INV, H),
    ("repo.example.org:8080/handle/123456789/5", INV, H),
    ("/handle/20.500.12614/3703.2", INV, "oai:repo.example.org:20.500.12614/3703.2"),
    ("/handle/1/caf%C3%A9", INV, "oai:repo.example.org:1/café"),
    ("/handle/1/café", INV, "oai:repo.example.org:1/café"),
    ("/bitstream/handle/123456789/5/Relat%C3%B3rio.pdf?sequence=1&isAllowed=y", REQ, H),
    ("https://repo.example.org/bitstream/handle/123456789/5/a.pdf?isAllowed=y&amp;sequence=1", REQ, H),
    ("/bitstream/123456789/5/1/tese.PDF", REQ, H),
    ("/xmlui/bitstream/handle/123456789/5/%E6%97%A5%E6%9C%AC.pdf", REQ, H),
    ("/bitstream/handle/123456789/5/photo.jpg", REQ, H),
    ("/bitstream/handle/123456789/5/tese.pdf.jpg", None, None),
    ("/bitstream/handle/123456789/5/tese.pdf.jpg?sequence=4", None, None),
    ("/bitstream/handle/123456789/5/tese.pdf.txt", None, None),
    ("/bitstream/handle/123456789/5/license.txt?sequence=2", None, None),
    ("/bitstream/id/77/tese.pdf", None, None),
    ("/handle/123456789/5/statistics", None, None),
    ("/handle/123456789/5/browse?type=author", None, None),
    ("/metadata/handle/123456789/5/mets.xml", None, None),
    ("/rest/handle/123456789/5", None, None),
    ("/feed/rss_2.0/123456789/5", None, None),
    ("/handle/", None, None),
    ("/discover?query=%C3%A1gua&rpp=10", FIND, None),
    ("/discover?rpp=10&query=agua&page=1", FIND, None),
    ("/discover?filtertype_0=author&filter_0=Silva", FIND, None),
    ("/handle/123456789/5/discover?query=agua", FIND, None),
    ("/jspui/simple-search?location=&query=agua&start=0", FIND, None),
    ("/discover?query=agua&page=2", None, None),
    ("/simple-search?query=agua&start=10", None, None),
    ("/discover", None, None),
    ("/discover?query=", None, None),
    ("/browse?type=title&value=handle%2F1%2F2", None, None),
    (f"/items/{UUID}", INV, UUID),
    (f"/items/{UUID.upper()}/full", INV, UUID),
    (f"/entities/publication/{UUID}?lang=pt", INV, UUID),
    (f"/bitstreams/{UUID}/download", REQ, UUID),
    (f"/server/api/core/bitstreams/{UUID}/content", REQ, UUID),
    (f"/server/api/core/items/{UUID}?embed=thumbnail", None, None),
    (f"/server/api/core/items/{UUID}/handle/1/2", None, None),
    (f"/items/{UUID}/edit/status", None, None),
    (f"/statistics/items/{UUID}", None, None),
    ("/search?query=agua&spc.page=1", FIND, None),
    ("/search?query=agua&spc.page=3", None, None),
    ("/search?f.author=Silva,equals", FIND, None),
]

A = "oai:repo.example.org:article/123"
OJS = [
    ("/index.php/rev/article/view/123", INV, A),
    ("/rev/article/view/123/", INV, A),
    ("/article/view/123", INV, A),
    ("/ojs/index.php/rev/es/article/view/123?x=1", INV, A),
    ("/index.php/rev/article/view/123/456", INV, A),
    ("/index.php/rev/article/view/123/version/2", INV, A),
    ("/index.php/rev/article/view/123/pdf_12", INV, A),
    ("/index.php/rev/article/view/123/html", REQ, A),
    ("/index.php/rev/article/viewArticle/123", INV, A),
    ("/index.php/rev/article/viewFile/123/456", REQ, A),
    ("/index.php/rev/article/download/123/456", REQ, A),
    ("/index.php/rev/article/download/123/456/789?inline=1", REQ, A),
    ("/index.php/rev/article/downloadSuppFile/123/9", INV, A),
    ("/index.php/rev/article/view/v10n1a3", INV, "oai:repo.example.org:article/v10n1a3"),
    ("/index.php/rev/rt/captureCite/123/456", INV, A),
    ("/index.php/rev/rt/printerFriendly/123/456", REQ, A),
    ("/index.php/rev/citationstylelanguage/get/apa?submissionId=123&publicationId=4", INV, A),
    ("/index.php/rev/issue/view/12", None, None),
    ("/index.php/rev/issue/archive", None, None),
    ("/index.php/rev/oai?verb=ListRecords", None, None),
    ("/index.php/scielo/preprint/view/77", INV, "oai:repo.example.org:preprint/77"),
    ("/index.php/scielo/preprint/download/77/99", REQ, "oai:repo.example.org:preprint/77"),
    ("/index.php/press/catalog/book/9", INV, "oai:repo.example.org:monograph/9"),
    ("/index.php/press/catalog/view/9/8/7", INV, "oai:repo.example.org:monograph/9"),
    ("/index.php/press/catalog/download/9/8/7?inline=1", REQ, "oai:repo.example.org:monograph/9"),
    ("/index.php/rev/search?query=agua", FIND, None),
    ("/index.php/rev/search/search?query=agua&searchPage=2", None, None),
    ("/index.php/rev/search", None, None),
]

PDF = "pdf/rsp/v44n6/a01.pdf"
SCIELO = [
    (f"/scielo.php?script=sci_arttext&pid={V2}&lng=en&nrm=iso&tlng=pt", REQ, V2),
    (f"/scielo.php?pid={V2.lower()}&script=sci_arttext", REQ, V2),
    (f"/scielo.php/script_sci_arttext/pid_{V2}/lng_en/nrm_iso", REQ, V2),
    (f"/scielo.php?lng=en&script=sci_abstract&pid={V2}", INV, V2),
    (f"/scielo.php?script=sci_pdf&pid={V2}", INV, V2),
    (f"/scielo.php?script=sci_arttext_pr&pid={V2}", INV, V2),
    (f"/scielo.php?script=sci_isoref&pid={V2}", INV, V2),
    (f"/scielo.php?download&format=BibTex&pid={V2}", INV, V2),
    (f"/article_plus.php?pid={V2}&tlng=en", REQ, V2),
    (f"/readcube/epdf.php?doi=10.1590/x&pid={V2}&pdf_path=rsp/v44n6/01.pdf", REQ, V2),
    (f"/scieloorg/php/articlexml.php?pid={V2}&lang=en", REQ, V2),
    (f"/scieloorg/php/translate.php?pid={V2}", INV, V2),
    ("/pdf/rsp/v44n6/a01.pdf", REQ, PDF),
    ("/pdf/rsp/v44n6/en_a01.pdf", REQ, PDF),
    ("/img/revistas/rsp/v44n6/A01.PDF", REQ, PDF),
    ("/scielo.php?script=sci_issuetoc&pid=0034-891020100006", None, None),
    ("/scielo.php?script=sci_serial&pid=0034-8910", None, None),
    ("/scielo.php?script=sci_arttext&pid=S0034-8910", None, None),
    (f"/j/rsp/a/{V3}/", REQ, V3),
    (f"/j/rsp/a/{V3}/?format=pdf&lang=en", REQ, V3),
    (f"/j/rsp/a/{V3}/?lang=pt&format=html", REQ, V3),
    (f"/j/rsp/a/{V3}/abstract/?lang=en", INV, V3),
    (f"/documentstore/0034-8910/{V3}/0123abcd.pdf", REQ, V3),
    ("/j/rsp/i/2010.v44n6/", None, None),
    ("/j/rsp/", None, None),
    ("/cgi-bin/wxis.exe/iah/?IsisScript=iah/iah.xis&nextAction=search&exprSearch=agua", FIND, None),
]

N = "oai:repo.example.org:4321"
INVENIO = [
    ("/records/4321", INV, N),
    ("/record/4321/", INV, N),
    ("/records/4321/export/bibtex", INV, N),
    ("/records/4321/files/data%20set.zip?download=1", REQ, N),
    ("/record/4321/files/paper.pdf", REQ, N),
    ("/api/records/4321/files/x.csv/content", REQ, N),
    ("/api/records/4321/files-archive", REQ, N),
    ("/records/abcde-12345", INV, "oai:repo.example.org:abcde-12345"),
    ("/doi/10.5281/Zenodo.4321", INV, "10.5281/zenodo.4321"),
    ("/doi/10.5281%2FZenodo.4321", INV, "10.5281/zenodo.4321"),
    ("/api/records/4321", None, None),
    ("/records/4321/preview/paper.pdf?include_deleted=0", None, None),
    ("/record/4321/files/paper.jpg?subformat=icon", None, None),
    ("/search?q=water&l=list&p=1", FIND, None),
    ("/search?q=water&page=2", None, None),
]

EPRINTS = [
    ("/4321/", INV, N),
    ("/4321", INV, N),
    ("/id/eprint/4321", INV, N),
    ("/archive/00004321/", INV, N),
    ("/4321/1/thesis.pdf", REQ, N),
    ("/id/eprint/4321/1/thesis%20final.pdf", REQ, N),
    ("/cgi/export/eprint/4321/BibTeX/x.bib", INV, N),
    ("/cgi/export/4321/DC/x.txt", INV, N),
    ("/4321/1.hassmallThumbnailVersion/thesis.pdf", None, None),
    ("/view/year/2024.html", None, None),
    ("/cgi/search/simple?q=water", FIND, None),
    ("/cgi/search/archive/simple?q=water&search_offset=20", None, None),
]

TABLES = {"dspace": DSPACE, "dspace7": DSPACE, "ojs": OJS, "scielo": SCIELO, "invenio": INVENIO, "eprints": EPRINTS}
EVERYTHING = [case for table in (DSPACE, OJS, SCIELO, INVENIO, EPRINTS) for case in table]


def differing(cases, platform):
    """The cases that come out otherwise than the table says, as the table would have to say it."""
    site = Site(id=1, url="https://repo.example.org", platform=platform)
    got = identify(pl.Series([c[0] for c in cases]), site)
    answers = zip([c[0] for c in cases], got["item_action"], got["identifier"], strict=True)
    return [a for a, c in zip(answers, cases, strict=True) if a != c]


@pytest.mark.parametrize("platform", TABLES)
def test_each_url_means_what_its_platforms_table_says(platform):
    assert differing(TABLES[platform], platform) == []


def test_all_platforms_rules_together_confuse_nothing():
    assert differing(EVERYTHING, "auto") == []


def test_archives_by_year_are_no_eprints_unless_the_site_is_one():
    years = ["/2024/", "/2024", "/2024/05/", "/2024/05/report.pdf"]
    assert differing([(u, None, None) for u in years], "auto") == []
    assert differing([("/2024/", INV, "oai:repo.example.org:2024")], "eprints") == []


def test_generic_knows_no_item():
    assert differing([(u, None, None) for u, _, _ in EVERYTHING], "generic") == []


def test_scielo_preprints_run_ops():
    assert differing([c for c in OJS if "/preprint/" in c[0]], "scielo") == []
