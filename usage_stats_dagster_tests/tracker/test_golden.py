"""A real Matomo's visits and events of the same logs: what agrees, and the rule behind what does not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from usage_stats_dagster_tests.tracker.matomo import Event, World, as_matomo_read, content

COMPARED = (
    "visit_first_action_time",
    "visit_last_action_time",
    "visit_total_actions",
    "visit_total_time",
    "location_ip",
    "referer_type",
    "referer_name",
)


def test_events_are_matomos(world: World) -> None:
    """The multiset of (time, type, URL or keyword) is Matomo's, exactly."""

    def all_of(by_visit: dict[int, list[Event]]) -> Counter[Event]:
        return Counter(e for events in by_visit.values() for e in events)

    assert all_of(world.our_events).total() == 7348
    assert all_of(world.our_events) == all_of(world.matomos_events)


def test_visits_are_matomos_but_for_users_who_log_on(world: World) -> None:
    """2,211 visits hold the same events; the others belong to people who log on, whom Matomo follows across devices.

    - Followed: one Matomo visit with one user's hits from several addresses and agents within half an hour is a visit
      for each of those here. 11 of Matomo's, 26 of ours.
    - Logged off: a user comes from a second device, then hits without a name come from that device. Matomo leaves the
      user's in the visit of the first device and opens another for the rest; here a device is a visitor. 2 and 2.
    """
    same = world.visits_of(world.our_events) & world.visits_of(world.matomos_events)
    assert (same.total(), len(world.ours), len(world.matomos)) == (2211, 2239, 2224)
    assert abs(len(world.ours) - len(world.matomos)) <= len(world.matomos) // 100
    classes: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for theirs, ours in _differing(world, same):
        users = {world.people[line][1] for visit in ours for line in world.our_lines[visit]}
        names = users - {"-"}
        assert len(names) == 1, "each difference is about one user who logs on"
        classes["followed" if users == names else "logged off"].append((len(theirs), len(ours)))
    assert {name: (len(c), *map(sum, zip(*c, strict=True))) for name, c in classes.items()} == {
        "followed": (11, 11, 26),
        "logged off": (1, 2, 2),
    }


def test_agents_and_device_classes_make_the_same_visitors(world: World) -> None:
    """Matomo's visitor is (address, system, browser, version) within the day, ours (address, agent): one pair differs.

    The two agents of the one that Matomo takes for one came hours apart, so no visit differs by it.
    """
    devices = defaultdict(set)
    for day, visitor, agent, identity, line in world.hits.select(
        "day", "visitor", "user_agent", "log_identity", "line"
    ).iter_rows():
        a = world.verdicts.agents[as_matomo_read(agent)]
        version = ".".join(a["browser_version"].split(".")[:2])
        devices[day, world.people[identity, line][0], a["os"], a["browser"], version].add(visitor)
    assert Counter(len(v) for v in devices.values()) == {1: 1592, 2: 1}


def test_same_visits_have_the_same_figures(world: World) -> None:
    """Times, length, number of actions, network, referrer, and seconds between actions, of visits that hold the same."""
    theirs = defaultdict(list)
    for i, events in world.matomos_events.items():
        theirs[content(events)].append(i)
    compared = 0
    for i, events in world.our_events.items():
        if found := theirs.get(content(events)):
            expected = [([world.matomos[j][c] for c in COMPARED], sorted(world.matomos_spent[j])) for j in found]
            assert ([world.ours[i][c] for c in COMPARED], sorted(world.our_spent[i])) in expected
            compared += 1
    assert compared == 2211


def _differing(world: World, same: Counter[tuple[Event, ...]]) -> Iterable[tuple[set[int], set[int]]]:
    """Matomo's visits and ours that share events and don't hold the same: in groups that hold the same together."""
    matomos = {i: e for i, e in world.matomos_events.items() if content(e) not in same}
    ours = {i: e for i, e in world.our_events.items() if content(e) not in same}
    while matomos:
        theirs, mine = {next(iter(matomos))}, set()
        while True:
            held = {e for i in theirs for e in matomos[i]} | {e for i in mine for e in ours[i]}
            more_theirs = {i for i, events in matomos.items() if held.intersection(events)}
            more_mine = {i for i, events in ours.items() if held.intersection(events)}
            if (more_theirs, more_mine) == (theirs, mine):
                break
            theirs, mine = more_theirs, more_mine
        yield theirs, mine
        matomos = {i: e for i, e in matomos.items() if i not in theirs}
        ours = {i: e for i, e in ours.items() if i not in mine}
    assert not ours
