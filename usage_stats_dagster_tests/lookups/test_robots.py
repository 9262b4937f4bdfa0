import json
import re
from importlib.resources import files

import polars as pl
import pytest

from usage_stats_dagster.lookups.robots import Robots, list_patterns
from usage_stats_dagster.settings import RulesSection


def sample_agents() -> list[str]:
    entries = json.loads(files("crawleruseragents").joinpath("crawler-user-agents.json").read_text())
    return list(dict.fromkeys(agent for e in entries for agent in e["instances"]))


def judged(agents, **rules):
    return Robots(RulesSection(**rules))(pl.Series(agents, dtype=pl.String)).to_list()


def test_every_sample_agent_gets_the_verdict_of_a_plain_loop_over_all_patterns():
    agents = [*sample_agents(), "", "-", "x", "Mozilla/5.0", "MOZILLA/5.0", "curl/8.5.0", "CURL/8.5.0", "axios/1.6.2"]
    patterns = [(name, p) for name in ("counter", "crawler-user-agents") for p in list_patterns(name)]
    compiled = [(f"{name}: {p}", re.compile(p, re.IGNORECASE)) for name, p in patterns]

    expected = [next((reason for reason, regex in compiled if regex.search(a)), None) for a in agents]

    assert judged(agents, robots_allow=()) == expected
    assert len(agents) > 2100


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        (None, None),
        ("", "counter: ^.?$"),
        ("-", "counter: ^.?$"),
        ("Mozilla/5.0 (compatible; GoogleBot/2.1; +http://www.google.com/bot.html)", "counter: bot"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:135.0) Gecko/20100101 Firefox/135.0", None),
        ("Mozilla/5.0 (Linux; Android 12; CUBOT X30) AppleWebKit/537.36 Chrome/120.0.0.0 Mobile Safari/537.36", None),
        ("facebookexternalhit/1.1", "counter: facebookexternalhit\\/"),
        ("SSL Labs", "crawler-user-agents: SSL Labs$"),
    ],
)
def test_verdicts(agent, reason):
    assert judged([agent]) == [reason]


def test_the_operators_patterns_add_and_allow():
    agents = ["OAI-PMH harvester", "OurChecker/1.0", "Mozilla/5.0 (Windows NT 10.0) HappyReader", "Googlebot/2.1"]

    reasons = judged(
        agents, robots=("counter",), robots_extra=(r"happyreader\b(?!x)",), robots_allow=("ourchecker", "google")
    )

    assert reasons == ["counter: harvest", None, "extra: happyreader\\b(?!x)", None]


def test_no_list_at_all_calls_nobody_a_robot():
    assert judged(["Googlebot/2.1", "-"], robots=()) == [None, None]


def test_verdicts_do_not_depend_on_what_was_asked_before():
    robots = Robots(RulesSection())
    agents = pl.Series([*sample_agents()[:300], None, "Mozilla/5.0 (X11; Linux x86_64) Firefox/135.0"])

    first = robots(agents)

    assert robots(agents).equals(first, null_equal=True)
    assert robots(agents.reverse()).equals(first.reverse(), null_equal=True)
    assert robots(pl.concat([agents, agents])).to_list() == first.to_list() * 2


def test_the_version_follows_lists_and_patterns():
    plain = Robots(RulesSection())

    assert re.fullmatch("[0-9a-f]{16}", plain.version)
    assert plain.version == Robots(RulesSection(double_click_seconds=10)).version
    others = [{"robots": ("counter",)}, {"robots_extra": ("x",)}, {"robots_allow": ("x",)}, {"robots_allow": ()}]
    assert len({plain.version} | {Robots(RulesSection(**o)).version for o in others}) == 5
