"""How a world's lines arrive: files, archives, growth, rotation, copies, and the runs in between.

What belongs here: deliveries as data, how they are drawn, and telling about them. What does not: carrying them out
(`case.py`), what must come out (`compare.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from hypothesis import strategies as st

from usage_stats_dagster_tests.oracle.reading import readable
from usage_stats_dagster_tests.oracle.worlds import Site, World

PACKED = (".gz", ".bz2", ".xz", ".zst")
RUNS = ("", "", "all", "all", "day", "day before", "range", "again")


@dataclass(frozen=True)
class Step:
    """One thing that happens to a site's file, then a run, or none.

    The file holds the site's lines at these places, in this order, and `half` bytes of the line that comes next there
    (at the place `next_place`). It stands under `name`, which says how it is packed; a file `instead_of` is gone then.
    """

    idsite: int
    name: str
    places: tuple[int, ...]
    half: int = 0
    next_place: int = 0
    instead_of: str | None = None
    run: str = ""

    def __str__(self) -> str:
        """What happens, in words."""
        half = f" and {self.half} bytes of {self.next_place}" if self.half else ""
        gone = f", in place of {self.instead_of}" if self.instead_of else ""
        run = f"; run {self.run}" if self.run else ""
        return f"logs/{self.idsite}/{self.name} has lines {list(self.places)}{half}{gone}{run}"


@dataclass(frozen=True, repr=False)
class Delivery:
    """Steps in order; after the last everything runs once more."""

    steps: tuple[Step, ...]

    def __repr__(self) -> str:
        """Short: a failure tells of the steps one by one."""
        return f"Delivery({len(self.steps)} steps)"

    def __str__(self) -> str:
        """One line a step."""
        return "\n".join(map(str, self.steps))

    @property
    def has_halves(self) -> bool:
        """Whether a run may see half a line: then files are taken for still being written."""
        return any(s.half for s in self.steps)


def whole(world: World) -> Delivery:
    """All at once: one file a site."""
    return Delivery(tuple(Step(s.id, "access.log", tuple(range(len(s.lines)))) for s in world.sites))


@st.composite
def deliveries(draw: st.DrawFn, world: World) -> Delivery:
    """Some way in which the world's lines may arrive."""
    halves = draw(st.booleans())
    lives = [
        draw(_lives(site.id, n, places, halves)) for site in world.sites for n, places in enumerate(draw(_files(site)))
    ]
    turns = draw(st.permutations([n for n, life in enumerate(lives) for _ in life]))
    left = [list(life) for life in lives]
    steps = [replace(left[n].pop(0), run=draw(st.sampled_from(RUNS))) for n in turns]
    return Delivery(tuple(steps))


@st.composite
def _files(draw: st.DrawFn, site: Site) -> list[tuple[int, ...]]:
    """The places of the site's lines by file: up to three servers, each of whose logs is cut up to twice."""
    servers = draw(st.integers(1, 3))
    of_server: list[list[int]] = [[] for _ in range(servers)]
    for place in range(len(site.lines)):
        of_server[draw(st.integers(0, servers - 1)) if servers > 1 else 0].append(place)
    files = []
    for places in of_server:
        cuts = sorted(draw(st.lists(st.integers(0, len(places)), max_size=2)))
        files += [tuple(places[a:b]) for a, b in pairwise((0, *cuts, len(places)))]
    if draw(st.integers(0, 5)) == 5:
        files = [f[::-1] for f in files]
    # A log without one line of its format is nobody's log: what it holds stands in another.
    good = [f for f in files if any(readable(site.lines[n], site) for n in f)]
    stray = tuple(n for f in files if f not in good for n in f)
    return [good[0] + stray, *good[1:]] if stray else good


@st.composite
def _lives(draw: st.DrawFn, idsite: int, number: int, places: tuple[int, ...], halves: bool) -> list[Step]:
    """What happens to a file: it grows, is rotated or packed, leaves copies."""
    name = f"access{number}.log"
    steps = []
    for count in sorted(set(draw(st.lists(st.integers(1, len(places)), max_size=2)))):
        if count < len(places):
            half = draw(st.sampled_from((0, 1, 90))) if halves else 0
            steps.append(Step(idsite, name, places[:count], half, places[count]))
    steps.append(Step(idsite, name, places))
    match draw(st.sampled_from(("stays", "stays", "rotated", "packed", "grows packed"))):
        case "rotated":
            steps.append(Step(idsite, f"{name}.1", places, instead_of=name))
        case "packed":
            steps.append(Step(idsite, f"{name}.1{draw(st.sampled_from(PACKED))}", places, instead_of=name))
        case "grows packed":
            suffix = draw(st.sampled_from(PACKED))
            steps = [replace(s, name=s.name + suffix, half=0) for s in steps]
    match draw(st.sampled_from(("none", "none", "none", "copy", "older copy"))):
        case "copy":
            steps.append(Step(idsite, f"copy-of-{number}{draw(st.sampled_from(('', *PACKED)))}", places))
        case "older copy":
            steps.append(Step(idsite, f"older-{number}", places[: draw(st.integers(1, len(places)))]))
    return steps
