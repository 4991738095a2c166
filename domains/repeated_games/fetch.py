"""`arena data fetch repeated_games`: the released matches, from the public repository, each file known by its sha256 before it is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arena.download import Fetched, download
from arena.errors import unknown
from domains.repeated_games.recorded import FOLDER


def origins() -> dict[str, dict[str, Any]]:
    """{file as PLACES names it first: {path, sha256, bytes}}, path below the origin: repository, commit, file."""
    found: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "origins.json").read_text())
    return found


def fetch(data: str, root: Path, origin: str = "", watch: Callable[[int, int], None] = lambda done, total: None) -> list[Fetched]:
    """Bring the released files into repeated_games below a data root. data: repeated_games; origin: of a mirror; watch: told (files done, of)

    Raises ArenaError as `arena.download.download`.
    """
    if data != FOLDER:
        raise unknown("data", data, [FOLDER], "only this has a public origin")
    return download(origins(), root / FOLDER, origin, watch)
