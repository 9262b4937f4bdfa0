"""A site in OpenSearch: the name that readers ask for, the physical indices behind it, and what of them is seen.

What belongs here: names, making and removing indices, switching what readers see in one step. What does not: which
documents change (`replace.py`).

Readers ask for `{prefix}-{idsite}`, an alias. Behind it stands one index, `{prefix}.site-{idsite}-{stamp}`, whose name no
reader's `{prefix}-*` matches. While documents are replaced the alias hides those of the index that are being changed
(a filter), and shows in their place those of a second index, `…-staged`. All of it is changed in one `_aliases` request.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from usage_stats_dagster.documents.contract import index_body
from usage_stats_dagster.index.interface import DocumentIndexError
from usage_stats_dagster.index.opensearch.http import IndexAnswerError, OpenSearchHttp

_STAGED = "-staged"
_NAMES = "*.aliases,*.settings.index.provided_name"
GRACE = 60.0
"""Seconds that an index outlives its removal from the alias: a search that was under way may still open it."""


@dataclass(frozen=True)
class Hidden:
    """Documents of the index that readers don't see: those of these dates, or only these ids among them."""

    dates: tuple[date, ...]
    ids: tuple[str, ...] = ()

    def query(self) -> dict[str, Any]:
        """The documents hidden, as a query."""
        terms: list[dict[str, Any]] = [{"terms": {"date": [str(d) for d in self.dates]}}]
        if self.ids:
            terms.append({"terms": {"id": list(self.ids)}})
        return {"bool": {"filter": terms}}


@dataclass(frozen=True)
class Seen:
    """What stands behind the alias."""

    index: str | None = None
    staged: str | None = None
    hidden: Hidden | None = None

    @property
    def whole(self) -> bool:
        """Whether readers see all of one index, or nothing yet."""
        return self.staged is None and self.hidden is None


class SiteIndices:
    """The indices of one site of one platform."""

    def __init__(self, http: OpenSearchHttp, prefix: str, idsite: int, replicas: int) -> None:
        self.http = http
        self.alias = f"{prefix}-{idsite}"
        self._stem = f"{prefix}.site-{idsite}-"
        self._body = index_body(replicas)

    def seen(self) -> Seen:
        """What readers see now."""
        answer = self.http.ask("GET", f"/_alias/{self.alias}", missing=True)
        if not answer:
            self.http.wait_until_recovered()
            answer = self.http.ask("GET", f"/_alias/{self.alias}", missing=True)
        if not answer:
            return Seen()
        staged = next((name for name in answer if name.endswith(_STAGED)), None)
        main = [name for name in answer if name != staged]
        if len(main) != 1 or not main[0].startswith(self._stem):
            msg = (
                f"the alias {self.alias} at {self.http.url} points to {sorted(answer)}, which this program did not make: "
                "set another index.prefix, or remove the alias and say `usage-stats reindex`"
            )
            raise DocumentIndexError(msg)
        shown = answer[main[0]]["aliases"][self.alias].get("filter")
        return Seen(main[0], staged, _hidden(shown) if shown else None)

    def make(self, *, staged: bool = False, seen: bool = False) -> str:
        """A new index; with `seen`, readers see it from its first moment on."""
        stamp = f"{datetime.now(UTC):%Y%m%d%H%M%S}-{secrets.token_hex(3)}"
        name = f"{self._stem}{stamp}{_STAGED if staged else ''}"
        body = {**self._body, "aliases": {self.alias: {}}} if seen else self._body
        try:
            self.http.ask("PUT", f"/{name}", body)
        except IndexAnswerError as e:
            if e.kind == "resource_already_exists_exception":  # only the answer to the first request was lost
                return name
            if e.kind == "invalid_alias_name_exception":
                raise self.foreign_error() from e
            raise
        return name

    def show(self, before: Seen, after: Seen, *, in_place_of_foreign: bool = False) -> None:
        """From now on readers see what `after` says in place of what `before` says; one step.

        `in_place_of_foreign`: an index of the alias' own name is deleted in the same step.
        """
        gone = [old for old in (before.index, before.staged) if old and old not in (after.index, after.staged)]
        for old in gone:
            self.http.ask("PUT", f"/{old}/_mapping", {"_meta": {"retired": int(time.time())}})
        add: dict[str, Any] = {"index": after.index, "alias": self.alias}
        if after.hidden:
            add["filter"] = {"bool": {"must_not": [after.hidden.query()]}}
        actions: list[dict[str, Any]] = [{"add": add}]
        if after.staged:
            actions.append({"add": {"index": after.staged, "alias": self.alias}})
        actions += [{"remove": {"index": old, "alias": self.alias}} for old in gone]
        if in_place_of_foreign:
            actions.insert(0, {"remove_index": {"index": self.alias}})
        try:
            self.http.ask("POST", "/_aliases", {"actions": actions})
        except IndexAnswerError as e:
            # Said twice because the first answer was lost, it finds nothing left to remove.
            if e.status != 404 or self.seen() != after:
                raise

    def is_foreign(self) -> bool:
        """Whether an index of the alias' own name is in the way."""
        found = self.http.ask("GET", f"/{self.alias}", None, {"filter_path": _NAMES}, missing=True)
        return bool(found) and self.alias in found

    def foreign_error(self) -> DocumentIndexError:
        """What to say then."""
        return DocumentIndexError(
            f"OpenSearch at {self.http.url} has an index {self.alias} that this program did not make: "
            "`usage-stats reindex --replace-foreign` makes ours beside it and puts it in its place"
        )

    def refresh(self, index: str) -> None:
        """Searches see from now on what was written, on every copy of the index."""

        def work() -> None:
            answer = self.http.once("POST", f"/{index}/_refresh")
            if answer["_shards"]["failed"]:
                msg = f"OpenSearch at {self.http.url} could not refresh {index}: {answer['_shards']}"
                raise DocumentIndexError(msg)

        self.http.patiently(work)

    def unseen(self) -> list[str]:
        """The site's indices that no reader sees: left by a killed writer, or taken out of the alias."""
        found = self.http.ask("GET", f"/{self._stem}*", None, {"filter_path": _NAMES})
        return sorted(name for name, index in found.items() if not index.get("aliases"))

    def remove(self, index: str) -> None:
        """Delete an index."""
        self.http.ask("DELETE", f"/{index}", missing=True)

    def is_closed_to_all(self, index: str) -> bool:
        """Whether no search can have the unseen index open: none ever could, or it was retired long enough ago."""
        answer = self.http.ask("GET", f"/{index}/_mapping", missing=True)
        retired = answer[index]["mappings"].get("_meta", {}).get("retired") if answer else None
        return retired is None or abs(time.time() - retired) > GRACE


def _hidden(shown: dict[str, Any]) -> Hidden:
    terms = shown["bool"]["must_not"][0]["bool"]["filter"]
    ids = terms[1]["terms"]["id"] if len(terms) > 1 else ()
    return Hidden(tuple(date.fromisoformat(d[:10]) for d in terms[0]["terms"]["date"]), tuple(ids))
