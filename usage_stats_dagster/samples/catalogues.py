"""What the sample's sites hold: items with their pages and files, and the pages around them, platform by platform.

What belongs here: addresses as the platforms write them. What does not: reading them back (`items/`), and who
asks for which (`sessions.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

Texts = npt.NDArray[np.str_]

WORDS = (
    "amazonia", "saúde pública", "educação", "climate change", "covid-19", "agroecología", "políticas públicas",
    "machine learning", "derecho ambiental", "história oral", "energia solar", "género", "soil carbon", "dengue",
    "bibliotecas digitales", "open access", "memoria", "inclusão", "biodiversidad", "teacher training",
)  # fmt: skip
_NAMES = ("tesis", "dissertacao", "capítulo-3", "data set", "artigo_final", "TCC", "informe", "relatório (2019)")


@dataclass(frozen=True)
class Catalogue:
    """A site's addresses: `view`, `file` and `thumbnail` have one an item; `thumbnail` may be empty texts.

    `search` has a place for the words, `browse` are pages of no item, `static` belong to every page, `moved` answer
    with a redirect, and `machine` are the interfaces that harvesters use.
    """

    view: Texts
    file: Texts
    thumbnail: Texts
    browse: tuple[str, ...]
    search: str
    static: tuple[str, ...]
    moved: tuple[str, ...]
    machine: tuple[str, ...]


def dspace(rng: np.random.Generator, items: int) -> Catalogue:
    """A DSpace 6: handles, bitstreams with their thumbnails, discovery, OAI-PMH."""
    handle = rng.permutation(np.arange(1, items * 3))[:items]
    name = rng.integers(0, len(_NAMES), items)
    sequence = rng.integers(1, 6, items)
    files = [f"/bitstream/handle/123456789/{h}/{quote(_NAMES[n])}.pdf" for h, n in zip(handle, name, strict=True)]
    return Catalogue(
        view=np.array([f"/handle/123456789/{h}" for h in handle]),
        file=np.array([f"{f}?sequence={s}&isAllowed=y" for f, s in zip(files, sequence, strict=True)]),
        thumbnail=np.array([f"{f}.jpg?sequence=9" for f in files]),
        browse=(
            "/", "/community-list", "/browse?type=author", "/browse?type=title", "/browse?type=subject&order=ASC&rpp=20",
            "/handle/123456789/1/browse?type=dateissued", "/password-login", "/contact", "/feed/rss_2.0/site",
        ),
        search="/discover?query={words}&rpp=10",
        static=(
            "/themes/Mirage2/styles/main.css", "/themes/Mirage2/scripts/theme.js", "/themes/Mirage2/images/favicon.ico",
            "/themes/Mirage2/images/logo.svg", "/static/js/choice-support.js", "/themes/Mirage2/fonts/glyphicons.woff2",
            "/robots.txt",
        ),
        moved=("/xmlui", "/jspui/handle/123456789/2", "/login", "/browse-date"),
        machine=(
            "/oai/request?verb=ListRecords&metadataPrefix=oai_dc", "/oai/request?verb=Identify",
            "/oai/request?verb=ListRecords&resumptionToken=oai_dc////100", "/rest/items?limit=100", "/sitemap",
        ),
    )  # fmt: skip


def ojs(rng: np.random.Generator, items: int) -> Catalogue:
    """An OJS 3 with four journals: articles, their files, issues."""
    journals = np.array(["letras", "rbes", "antropologia", "revmat"])
    journal = journals[rng.integers(0, len(journals), items)]
    article = rng.permutation(np.arange(100, 100 + items * 4))[:items]
    galley = rng.integers(10, 10 + items * 6, items)
    parts = list(zip(journal, article, galley, strict=True))
    return Catalogue(
        view=np.array([f"/index.php/{j}/article/view/{a}" for j, a, _ in parts]),
        file=np.array([f"/index.php/{j}/article/download/{a}/{g}" for j, a, g in parts]),
        thumbnail=np.array([f"/public/journals/1/article_{a}_cover.png" for _, a, _ in parts]),
        browse=(
            "/", "/index.php/letras", "/index.php/rbes", "/index.php/letras/issue/archive", "/index.php/rbes/issue/view/31",
            "/index.php/antropologia/issue/current", "/index.php/revmat/about/submissions", "/index.php/revmat/issue/view/8",
        ),
        search="/index.php/letras/search/search?query={words}",
        static=(
            "/lib/pkp/styles/build.css", "/plugins/themes/default/js/main.js", "/lib/pkp/lib/vendor/components/jquery/jquery.min.js",
            "/public/site/pageHeaderTitleImage.png", "/public/site/favicon.ico", "/lib/pkp/styles/fontawesome/fa-solid-900.woff2",
        ),
        moved=("/index.php", "/letras", "/index.php/rbes/login", "/index.php/index/user"),
        machine=("/index.php/letras/oai?verb=ListRecords&metadataPrefix=oai_dc", "/index.php/index/oai?verb=Identify",
                 "/index.php/rbes/gateway/lockss"),
    )  # fmt: skip


def scielo(rng: np.random.Generator, items: int) -> Catalogue:
    """A SciELO collection: most articles in the new site's addresses, the rest still asked for by the classic ones."""
    letters = np.array(list("bcdfghjkmnpqrstvwxyzBCDFGHJKLMNPQRSTVWXYZ3456789"))
    pid_v3 = ["".join(row) for row in letters[rng.integers(0, len(letters), (items, 23))]]
    journals = (("csp", "0102-311X"), ("rsp", "0034-8910"), ("rbz", "1516-3598"), ("ress", "1679-4974"))
    journal = rng.integers(0, len(journals), items)
    year, issue, order = rng.integers(2005, 2025, items), rng.integers(1, 7, items), rng.integers(1, 999, items)
    classic = rng.random(items) < 0.35
    lang = np.array(["pt", "es", "en"])[rng.choice(3, items, p=[0.55, 0.25, 0.2])]
    view, file = [], []
    for i in range(items):
        acronym, issn = journals[journal[i]]
        if classic[i]:
            pid = f"S{issn}{year[i]}{issue[i]:04d}{order[i]:05d}"
            tail = f"pid={pid}&lng={lang[i]}&nrm=iso&tlng={lang[i]}"
            abstract = order[i] % 3 == 0
            view.append(f"/scielo.php?script={'sci_abstract' if abstract else 'sci_arttext'}&{tail}")
            full_text = f"/scielo.php?script=sci_arttext&{tail}"
            file.append(full_text if abstract else f"/readcube/epdf.php?pid={pid}&pdf_path={acronym}/{order[i]}.pdf")
        else:
            view.append(f"/j/{acronym}/a/{pid_v3[i]}/{'abstract/' if order[i] % 4 == 0 else ''}?lang={lang[i]}")
            file.append(f"/j/{acronym}/a/{pid_v3[i]}/?format=pdf&lang={lang[i]}")
    return Catalogue(
        view=np.array(view),
        file=np.array(file),
        thumbnail=np.full(items, ""),
        browse=(
            "/", "/journals/alpha", "/j/csp/", "/j/rsp/grid", "/j/csp/i/2023.v39n4/", "/j/rbz/i/2022.v51/", "/j/ress/",
            "/scielo.php?script=sci_serial&pid=0102-311X&lng=pt&nrm=iso", "/scielo.php?script=sci_issuetoc&pid=0034-891020210001",
        ),
        search="/cgi-bin/wxis.exe/iah/?IsisScript=iah/iah.xis&base=article&lang=p&nextAction=lnk&exprSearch={words}",
        static=(
            "/static/css/scielo-article.css", "/static/js/scielo-bundle-min.js", "/static/img/logo-scielo.svg",
            "/static/fonts/material-icons.woff2", "/favicon.ico", "/media/images/csp_glogo.gif",
        ),
        moved=("/csp", "/scielo.php/script_sci_home", "/pdf", "/cgi-bin/wxis.exe/iah/"),
        machine=("/oai/scielo-oai.php?verb=ListRecords&metadataPrefix=oai_dc", "/api/v1/counter_dict?limit=100", "/sitemap.xml"),
    )  # fmt: skip
