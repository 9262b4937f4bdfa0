"""Where tests find the fixtures that lie beside the repository; they skip, and say why, where it is absent."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared(path: str) -> Path:
    """The path below `../shared`; skips the test when the folder is not beside this checkout."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"../shared/{path} is not beside this checkout: the fixtures of others' figures can't be compared")
    return found
