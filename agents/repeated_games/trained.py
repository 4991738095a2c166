"""Which checkpoint a learned player of repeated games opens."""

from __future__ import annotations

from pathlib import Path

from arena.errors import ArenaError

SHIPPED = Path(__file__).parent / "weights"


def checkpoint_folder(agent: str, given: str | None, task: str, seed: int) -> Path:
    """The folder given, else the one shipped for this task; where it holds training seeds (seed-0, seed-1, ...) the one that run `seed` plays.

    Raises ArenaError `checkpoint.missing` where neither is there.
    """
    folder = Path(given).expanduser() if given else SHIPPED / agent / task.split("/")[-1]
    if not folder.is_dir():
        what = f"there is no folder {folder}" if given else f"{agent} comes with no weights for {task}"
        raise ArenaError("checkpoint.missing", what, f"arena train {agent} -t {task}, then '{agent}(checkpoint=FOLDER)'")
    trained = sorted(folder.glob("seed-*"), key=lambda path: (len(path.name), path.name))
    return trained[seed % len(trained)] if trained else folder
