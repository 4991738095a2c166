"""The best solutions known, frozen with their task: the nodes in order, from which every value can be computed again.

One file per task in `best/`: `order` [n, T] int16 (-1 behind the end), `via` [n, T] uint8 in cvrp, `value` [n] float64, their cost or value as
the checker found it (kept, because the last bit of a sum may differ between machines), and in its metadata who found them, with
which budget, and whether they are proven optimal. `python -m domains.combinatorial.best_solve TASK --work FOLDER` makes them again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.errors import ArenaError

FOLDER = Path(__file__).parent / "best"


@dataclass(frozen=True, eq=False)
class Best:
    """order [n, T] int16 and via [n, T] uint8 ([n, 0] but in cvrp) as the kernel holds them; value [n] float64

    about: `status` (optimal | heuristic), `found` {solver and budget: instances}, `proven` (how many are optimal for sure), `seeds`, `command`
    """

    order: NDArray[np.int16]
    via: NDArray[np.uint8]
    value: NDArray[np.float64]
    about: dict[str, Any]

    @property
    def optimal(self) -> bool:
        return bool(self.about["status"] == "optimal")


@cache
def load_best(name: str) -> Best:
    """The frozen solutions of a task. Raises ArenaError `reference.missing` where nobody has made them."""
    from safetensors import safe_open

    path = FOLDER / f"{name}.safetensors"
    if not path.is_file():
        hint = f"python -m domains.combinatorial.best_solve {name} --work FOLDER"
        raise ArenaError("reference.missing", f"combinatorial/{name} has no best solutions", hint)
    with safe_open(path, "numpy") as file:
        names, about = set(file.keys()), json.loads(file.metadata()["about"])
        order, value = file.get_tensor("order"), file.get_tensor("value")
        via = file.get_tensor("via") if "via" in names else np.zeros((len(order), 0), np.uint8)
    return Best(order, via, value, about)


def save_best(name: str, best: Best) -> Path:
    """Write the solutions of a task, to be committed."""
    from safetensors.numpy import save_file

    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.safetensors"
    tensors: dict[str, Any] = {"order": best.order.astype(np.int16), "value": best.value.astype(np.float64)}
    if best.via.shape[1]:
        tensors["via"] = best.via.astype(np.uint8)
    save_file(tensors, path, {"about": json.dumps(best.about, sort_keys=True)})
    load_best.cache_clear()
    return path
