"""How answers and refusals leave: JSON by orjson, and the exceptions that are answers.

What belongs here: what all endpoints share of it. What does not: which errors look how (`app.py`).
"""

from __future__ import annotations

import orjson
from fastapi.responses import Response


class Refused(Exception):  # noqa: N818  (an answer, not a fault)
    """What was asked for can't be had; the message says why, and what to write instead."""


def answer(content: object, status: int = 200) -> Response:
    """The content as JSON."""
    return Response(orjson.dumps(content), status_code=status, media_type="application/json")
