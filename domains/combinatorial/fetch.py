"""`arena data fetch`: TSPLIB and CVRPLIB instances from public repositories, each file known by its sha256 before it is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arena.download import Fetched, download
from arena.errors import unknown


def origins() -> dict[str, dict[str, dict[str, Any]]]:
    """{data: {file: {path, sha256, bytes}}}, path below the origin: repository, commit, file."""
    found: dict[str, dict[str, dict[str, Any]]] = json.loads((Path(__file__).parent / "origins.json").read_text())
    return found


def fetch(data: str, root: Path, origin: str = "", watch: Callable[[int, int], None] = lambda done, total: None) -> list[Fetched]:
    """Bring the files of `data` (tsplib, cvrplib) into combinatorial/DATA below a data root. origin: of a mirror; watch: told (files done, of)

    Raises ArenaError as `arena.download.download`.
    """
    known = origins()
    if data not in known:
        raise unknown("data", data, known, "only these have a public origin")
    return download(known[data], root / "combinatorial" / data, origin, watch)
