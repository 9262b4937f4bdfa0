"""Normalising, mapping and its counts, shapes of unmapped URLs, the version of a site's rules."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usage_stats_dagster.items.identifiers import identifier_prefix, normalise
from usage_stats_dagster.items.mapping import IdentifierMapError, map_identifiers, rust_replacement
from usage_stats_dagster.items.unmapped import unmapped
from usage_stats_dagster.items.version import version
from usage_stats_dagster.settings import IdentifierMap, ItemRule, Site

SPELLINGS = {
    "oai:http://example.com:123": "oai:example.com:123",
    "oai:https://example.com/rest:1/2": "oai:example.com:1/2",
    "oai:example.com/subfolder:123": "oai:example.com:123",
    "oai:example.com/a/b:123": "oai:example.com:123",
    "oai:repositorio.imdeananociencia.org/rest:20.500.12614/3703": "oai:repositorio.imdeananociencia.org:20.500.12614/3703",
    "oai:example.com:123456789/5": "oai:example.com:123456789/5",
    "oai:example.com:a/b:1": "oai:example.com:a/b:1",
    " oai:Example.com:x ": "oai:Example.com:x",
    "https://doi.org/10.1590/S0034-8910.X": "10.1590/s0034-8910.x",
    "http://dx.doi.org/10.1590/ABC": "10.1590/abc",
    "doi:10.1590/ABC": "10.1590/abc",
    "hdl:123456789/5": "123456789/5",
    "http://hdl.handle.net/10183/7": "10183/7",
    "https://repo.example.org/xmlui/handle/10183/7?show=full": "10183/7",
    "S0034-89102010000600001": "S0034-89102010000600001",
}


def mapped(identifiers, **how):
    got, counts = map_identifiers(pl.Series(identifiers, dtype=pl.String), IdentifierMap(**how) if how else None)
    return got.to_list(), tuple(counts)


def test_one_spelling_for_one_thing():
    assert dict(zip(SPELLINGS, normalise(pl.Series(list(SPELLINGS))), strict=True)) == SPELLINGS


@settings(deadline=None)
@given(
    st.lists(
        st.none()
        | st.text()
        | st.lists(st.sampled_from(["oai:", "https://", "h.org", "/", ":", "1", " ", "doi:", "10.1234"])).map("".join)
    )
)
def test_the_counts_close_over_all_that_is_not_null(identifiers):
    got, counts = mapped(identifiers, regex="1", replace="2")
    assert len(got) == len(identifiers)
    assert sum(counts) == sum(i is not None for i in identifiers)


def test_prefixes_name_the_source():
    ids = pl.Series(["oai:h.org:1/2", "10183/7", "10.1590/abc", "S0034-8910", "article/5", None, "20.500.1/2"])
    assert identifier_prefix(ids).to_list() == ["oai:h.org", "10183", "10.1590", None, None, None, "20.500.1"]


def test_a_regex_maps_what_normalising_left_and_each_is_counted():
    how = {"regex": r"^oai:a\.org:(.*)$", "replace": r"oai:b.org:REP3_\1"}
    ids = ["oai:https://a.org/rest:1/2", "oai:a.org:1/2", "oai:c.org/x:3", "oai:c.org:3", None]
    assert mapped(ids, **how) == (["oai:b.org:REP3_1/2"] * 2 + ["oai:c.org:3"] * 2 + [None], (1, 1, 2))


@pytest.mark.parametrize(
    ("python", "rust"),
    [(r"a\1b", "a${1}b"), (r"\g<x>\g<2>", "${x}${2}"), ("$1", "$$1"), (r"\\1", r"\1"), (r"\10", "${10}")],
)
def test_replacements_are_written_for_python(python, rust):
    assert rust_replacement(python) == rust


@pytest.mark.parametrize(
    "how", [{"regex": "(a)", "replace": r"\2"}, {"regex": "(a)", "replace": r"\g<n>"}, {"regex": "a(?=b)"}]
)
def test_a_regex_that_cannot_be_used_is_named(how):
    with pytest.raises(IdentifierMapError, match="identifier_map: regex"):
        mapped(["a"], **how)


@pytest.mark.parametrize(
    "text",
    [
        "old\tnew\noai:a.org:1\toai:b.org:9\n# moved\n\noai:a.org:2\tx\n",
        'oai:a.org:1,oai:b.org:9\r\noai:a.org:2,"x"\r\n',
    ],
)
def test_a_file_of_pairs_maps_whole_identifiers(tmp_path, text):
    file = tmp_path / "pairs"
    file.write_text(text)
    ids = ["oai:https://a.org/rest:1", "oai:a.org:2", "oai:a.org:22", "oai:b.org:9"]
    assert mapped(ids, file=str(file)) == (["oai:b.org:9", "x", "oai:a.org:22", "oai:b.org:9"], (2, 0, 2))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a\tb\nc\n", "line 2: should be an old and a new"),
        (b"a\tb\n\nc\t\n", "line 3: should be"),
        (b"a\tb\nc\td\na\te\n", "line 3: 'a' is mapped to 'e', but on line 1 to 'b'"),
        (b"a\tb\n\xff\tc\n", "line 2: not UTF-8"),
        (None, "can't be read"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path, content, says):
    file = tmp_path / "pairs.tsv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(IdentifierMapError, match=says) as e:
        mapped(["a"], file=str(file))
    assert str(file) in str(e.value)


def test_unmapped_urls_are_shown_by_shape_and_known_ones_are_not():
    urls = {
        "/obra/1/texto": 5,
        "/obra/22/texto": 7,
        "/f/Relat%C3%B3rio.pdf?v=1": 3,
        "/handle/1/2": 99,
        "/handle/1/2/statistics": 50,
        "/sobre": 1,
    }
    frame = pl.DataFrame({"url": list(urls), "count": list(urls.values())})
    got = unmapped(frame, Site(id=1, platform="dspace"), top=2)
    assert got.rows() == [
        ("/obra/#/texto", 12, 2, "/obra/22/texto"),
        ("/f/*.pdf?v=*", 3, 1, "/f/Relat%C3%B3rio.pdf?v=1"),
    ]


def test_the_version_changes_with_all_that_decides_and_with_nothing_else(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("a\tb\n")
    base = {"id": 1, "url": "https://a.org", "identifier_map": IdentifierMap(file=str(file))}
    first = version(Site(**base))
    assert len(first) == 16
    assert version(Site(**{**base, "id": 2, "name": "Other", "country": "BR"})) == first
    changes = [
        {"platform": "ojs"},
        {"url": "https://b.org"},
        {"identifier": "x:{handle}"},
        {"item_rules": (ItemRule(pattern="/x/(?P<id>.)", action="request"),)},
        {"identifier_map": None},
    ]
    assert len({first, *(version(Site(**{**base, **c})) for c in changes)}) == 6
    file.write_text("a\tc\n")
    assert version(Site(**base)) != first
