"""What a rule is.

What belongs here: the shape of a rule, and pieces of pattern that several platforms share. What does not: the rules
themselves (`platforms/`), in which order a site's are tried (`rules.py`), how they are applied (`match.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["investigation", "request", "search"]


@dataclass(frozen=True)
class Rule:
    """What a URL means that matches `pattern`, and the identifier that it carries.

    `pattern` is a regular expression of Rust's `regex` (no look-around, no back-reference: linear time whatever the
    URL), searched in the tidied path and query (`match.tidy`). `action` None means: known, and no act about an item.
    `identifier_template` is filled from the named groups and `{host}`; one that starts with `oai:{host}:` loses just
    that where the site's host is not known. `needles` are literals of which a URL must hold at least one, in any
    case (none: no such condition). `fold` sets the case of an identifier whose case means nothing.
    """

    pattern: str
    action: Action | None
    identifier_template: str
    name: str
    needles: tuple[str, ...] = ()
    fold: Literal["lower", "upper"] | None = None


END = r"/?(?:\?|$)"
"""The path ends here, with or without a slash; a query may follow."""

REST = r"(?:/[^?]*)?(?:\?|$)"
"""Anything more of the path may follow."""

LATER_PAGES = Rule(
    r"(?i)^[^?]*(?:search|discover|results)[^?]*\?(?:.*&)?"
    r"(?:(?:(?:spc\.)?page|searchpage|searchresultspage)=(?:[2-9]|1\d)|(?:start|search_offset)=[1-9])",
    None,
    "",
    "later page of results",
    ("page=", "start=", "offset="),
)
"""Turning the pages of a result is not another search (COUNTER R5.1 counts the search that was sent)."""
