"""Client addresses of the sample: public ranges by country, so that a country lookup gives a spread.

What belongs here: which blocks stand for which country, and drawing from them. What does not: who visits when
(`sessions.py`). The last part of an address is made up; no address is any person's.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

# /16 blocks that the registries have allocated as a whole to the country.
BLOCKS: dict[str, tuple[str, ...]] = {
    "br": ("177.32", "189.6", "200.17", "187.64", "179.184"),
    "ar": ("190.16", "181.16", "200.45"),
    "co": ("190.24", "181.48", "186.80"),
    "mx": ("187.128", "189.128", "201.96"),
    "cl": ("190.160", "200.83", "181.72"),
    "pe": ("190.40", "181.64", "200.48"),
    "ec": ("181.112", "190.152"),
    "uy": ("167.56", "179.24"),
    "cr": ("201.192",),
    "us": ("24.16", "67.160", "98.192", "73.32"),
    "ca": ("99.224", "142.112"),
    "es": ("83.32", "88.0", "79.144"),
    "pt": ("85.240", "188.80", "82.154"),
    "fr": ("90.0", "86.192", "82.64"),
    "de": ("91.0", "84.128", "217.80"),
    "gb": ("86.0", "81.96", "92.232"),
    "it": ("79.0", "87.0"),
    "in": ("117.192", "122.160", "106.192"),
    "cn": ("114.240", "36.96", "222.64"),
    "jp": ("126.0", "60.64"),
    "za": ("105.224", "41.0"),
    "ng": ("197.210", "105.112"),
    "ao": ("105.168",),
    "mz": ("197.218",),
    "ke": ("105.160",),
    "au": ("101.160", "120.144"),
    "id": ("36.64", "114.120"),
    "ph": ("112.198", "49.144"),
}
BLOCKS_V6: dict[str, str] = {
    "br": "2804:14c",
    "ar": "2800:810",
    "co": "2800:e2",
    "mx": "2806:2f0",
    "cl": "2800:300",
    "us": "2600:1700",
    "es": "2a0c:5a80",
    "pt": "2001:8a0",
    "fr": "2a01:cb00",
    "de": "2003:e4",
    "gb": "2a02:c7c",
    "in": "2409:4000",
    "jp": "2400:2410",
    "cn": "2408:8200",
}
UTC_OFFSET: dict[str, int] = {
    "br": -3, "ar": -3, "co": -5, "mx": -6, "cl": -3, "pe": -5, "ec": -5, "uy": -3, "cr": -6, "us": -5, "ca": -5,
    "es": 1, "pt": 0, "fr": 1, "de": 1, "gb": 0, "it": 1, "in": 5, "cn": 8, "jp": 9, "za": 2, "ng": 1, "ao": 1,
    "mz": 2, "ke": 3, "au": 10, "id": 7, "ph": 8,
}  # fmt: skip
"""Hours that a country's clocks are ahead of UTC, near enough for a rhythm of day and night."""


def draw_countries(rng: np.random.Generator, weights: Mapping[str, float], n: int) -> npt.NDArray[np.str_]:
    """`n` country codes (lower case): the named ones by weight, and one in ten from anywhere."""
    rest = [c for c in BLOCKS if c not in weights]
    names = np.array([*weights, *rest])
    total = sum(weights.values())
    share = np.array([0.9 * w / total for w in weights.values()] + [0.1 / len(rest)] * len(rest))
    return rng.choice(names, size=n, p=share / share.sum())


def draw_addresses(rng: np.random.Generator, countries: npt.NDArray[np.str_], *, ipv6: float) -> npt.NDArray[np.str_]:
    """An address for each country given; a share `ipv6` of those in countries with a block there is IPv6."""
    out = np.empty(len(countries), dtype="U40")
    for country in np.unique(countries):
        at = np.flatnonzero(countries == country)
        blocks = BLOCKS[str(country)]
        block = rng.integers(0, len(blocks), len(at))
        third, fourth = rng.integers(0, 256, len(at)), rng.integers(1, 255, len(at))
        out[at] = [f"{blocks[b]}.{c}.{d}" for b, c, d in zip(block, third, fourth, strict=True)]
        prefix = BLOCKS_V6.get(str(country))
        if prefix is not None:
            new = at[rng.random(len(at)) < ipv6]
            parts = rng.integers(1, 0xFFFF, (len(new), 4))
            out[new] = [f"{prefix}:{a:x}:{b:x}:{c:x}:{d:x}::1" for a, b, c, d in parts]
    return out
