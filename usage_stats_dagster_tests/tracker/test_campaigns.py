import polars as pl
import pytest

from usage_stats_dagster.tracker.campaigns import campaign_name, campaigns


@pytest.mark.parametrize(
    ("query", "name", "same_as"),
    [
        ("?utm_source=news&utm_medium=mail&utm_campaign=Jan", "jan", "?utm_campaign=JAN"),
        ("?utm_source=news", "news", "?pk_campaign=news"),
        ("?utm_campaign=&utm_source=a", "a", "?utm_source=a"),
        ("?utm_campaign=a+b%C3%89", "a bé", "?pk_cpn=a%20b%c3%a9"),
        ("?pk_cpn=a&pk_kwd=X", "a", "?pk_cpn=a&utm_term=x"),
        (";pk_cpn=a", "a", "?pk_cpn=a"),
        ("?x=1#pk_cpn=b", "b", "?pk_cpn=b"),
        ("?pk_cpn=a#pk_cpn=b", "b", "?pk_cpn=b"),
        ("?pk_cpn=a&pk_kwd=k#pk_cpn=b", "a", "?pk_cpn=a&pk_kwd=k"),
        ("?UTM_CAMPAIGN=a", None, "?x=1"),
        ("?utm_campaign=0", None, "?utm_content=a"),
        ("", None, "?"),
    ],
)
def test_campaigns(query, name, same_as):
    urls = pl.Series([f"https://repo.example.org/handle/1{q}" for q in (query, same_as)])

    found = campaigns(urls)

    assert found[0] == found[1]
    assert found.to_frame("key").select(campaign_name(pl.col("key"))).item(0, 0) == name


def test_another_keyword_is_another_campaign():
    first, second, none = campaigns(
        pl.Series(["https://a.org/?pk_cpn=a&pk_kwd=x", "https://a.org/?pk_cpn=a&pk_kwd=y", None])
    )

    assert first != second
    assert none is None
