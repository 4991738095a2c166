"""The released policies of GPT-4, complete for ten rounds: base, and SCoT (it predicts the other's move first).

A policy is a table over the other player's past moves: entry (2^t - 1) + code for round t + 1, where code holds those t moves, oldest first, as
bits (0 = J, 1 = F).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arena.errors import ArenaError, unknown
from domains.repeated_games.recorded import EXPECTED, find

ROUNDS = 10


def load_policy(folder: Path | None, game: str, variant: str) -> NDArray[np.uint8]:
    """GPT-4's policy [1023], 0 = J. game: pd or bos, where it prefers J; variant: base, or scot (it predicts first). Raises ArenaError `data.*`."""
    for kind, name, known in (("game", game, ("pd", "bos")), ("policy", variant, ("base", "scot"))):
        if name not in known:
            raise unknown(kind, name, known)
    return read_policy(find(folder, f"{game}-{variant}"))


def read_policy(path: Path) -> NDArray[np.uint8]:
    """A *_lookup.json: {the other's past moves as J and F, oldest first: next move} for all 0 to 9 of them. Raises ArenaError `data.values`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ArenaError("data.missing", f"{path} cannot be read: {error.strerror or error}", EXPECTED) from error
    except (ValueError, RecursionError) as error:
        raise ArenaError("data.values", f"{path} is no JSON: {error}", EXPECTED) from error
    keys = [past for length in range(ROUNDS) for past in _pasts(length)]
    if not isinstance(found, dict) or (wrong := set(found) ^ set(keys)):
        said = "is no table" if not isinstance(found, dict) else f"has {len(found):,} entries; {min(wrong)!r} is one too many or missing"
        raise ArenaError("data.values", f"{path} {said}", f"a policy has the {len(keys):,} strings of 0 to {ROUNDS - 1} letters J and F")
    for key in keys:
        if found[key] not in ("J", "F"):
            raise ArenaError("data.values", f"{path}: after {key!r} it plays {found[key]!r}", "a move is J or F")
    return np.array([found[key] == "F" for key in keys], np.uint8)


def _pasts(length: int) -> list[str]:
    return [format(code, f"0{length}b").replace("0", "J").replace("1", "F") for code in range(1 << length)] if length else [""]


def position(past: NDArray[np.int8], rounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """[n] entry of a policy after `rounds` [n] moves of the other player, the first of `past` [n, T] (0, 1; later ones are not looked at)."""
    code = np.zeros(len(past), np.int64)
    for move in range(int(rounds.max(initial=0))):
        code = np.where(move < rounds, 2 * code + past[:, move], code)
    return (1 << rounds) - 1 + code
