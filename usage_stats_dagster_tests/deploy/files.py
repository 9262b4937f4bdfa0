"""The deployment files as the tests read them: parsed, and compose.yaml's variables filled in.

What belongs here: reading. What does not: any test.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(?::([-?])([^}]*))?\}")


def text(path: str) -> str:
    return (ROOT / path).read_text()


def parsed(path: str) -> Any:
    return yaml.safe_load(text(path))


def compose(**variables: str) -> dict[str, Any]:
    """compose.yaml with the variables, else its defaults; a variable that must be set and is not becomes `unset`."""

    def value(match: re.Match[str]) -> str:
        name, kind, default = match.groups()
        return variables.get(name, default if kind == "-" else "unset")

    return yaml.safe_load(VARIABLE.sub(value, text("compose.yaml")))


def dotenv() -> dict[str, str]:
    """.env.example as it stands."""
    lines = (
        line.split("=", 1) for line in text(".env.example").splitlines() if "=" in line and not line.startswith("#")
    )
    return dict(lines)
