"""Independent pieces of work in two threads, with their results in order.

What belongs here: the pool and its order. What does not: what is independent of what (its callers know).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

THREADS = 2
"""Polars runs many steps on one core and lets the others go on; more pieces at once would only cost memory."""

In = TypeVar("In")
Out = TypeVar("Out")


def in_threads(work: Callable[[In], Out], items: Iterable[In], threads: int = THREADS) -> Iterator[Out]:
    """What `work` makes of each item, in the items' order; `threads` at a time where there are several.

    An item is taken from `items` when its turn comes, in the caller's thread. After an error no further item is begun.
    """
    items = iter(items)
    first = list(islice(items, max(2, threads)))
    if len(first) < 2:
        yield from map(work, first)
        return
    with ThreadPoolExecutor(threads) as pool:
        running = deque(pool.submit(work, item) for item in first)
        try:
            while running:
                done = running.popleft().result()
                running.extend(pool.submit(work, item) for item in islice(items, 1))
                yield done
        finally:
            for future in running:
                future.cancel()
