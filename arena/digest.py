"""One name for one content: sha256 over a canonical form of plain data or of an array."""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from arena.errors import ArenaError


def canonical_json(obj: object) -> bytes:
    """The one byte string of plain data: sorted keys, no spaces, UTF-8, floats by `repr`.

    Raises `digest.not_canonical` for NaN and infinities, for keys that are not text (JSON would turn 1 and "1" into the same key)
    and for anything that JSON does not know.
    """
    _check_keys(obj)
    try:
        return json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:  # UnicodeEncodeError (a lone surrogate) is a ValueError
        raise ArenaError(
            "digest.not_canonical",
            f"{error}: this cannot be digested",
            "use only text, finite numbers, true/false, null, lists and mappings with text keys; arrays have array_digest",
        ) from error


def digest(obj: object) -> str:
    """sha256 of the canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(obj)).hexdigest()


def array_digest(array: NDArray[np.generic]) -> str:
    """sha256 of the dtype string, the shape and the C-order little-endian bytes: equal on every machine and for every memory layout.

    The dtype string is NumPy's for little-endian data (`<f8`, `<i4`, `|b1`); it and the shape go in as canonical JSON, `["<f8",[3,2]]`.
    Raises `digest.not_canonical` for NaN (many bit patterns mean the same) and for object or structured arrays.
    """
    array = np.asarray(array)
    dtype = array.dtype.newbyteorder("<")
    if dtype.kind in "OV":
        raise ArenaError("digest.not_canonical", f"an array of dtype {array.dtype} has no fixed bytes", "digest its columns one by one")
    if dtype.kind in "fcmM" and np.isnan(array).any():
        raise ArenaError("digest.not_canonical", f"the array of shape {array.shape} holds NaN", "write missing values as a number of your own choice")
    state = hashlib.sha256(canonical_json([dtype.str, list(array.shape)]))
    state.update(np.ascontiguousarray(array, dtype=dtype).reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def _check_keys(obj: object) -> None:
    if isinstance(obj, dict):
        for key, value in obj.items():
            if not isinstance(key, str):
                raise ArenaError("digest.not_canonical", f"the key {key!r} is {type(key).__name__}, not text", "write the key as a string")
            _check_keys(value)
    elif isinstance(obj, list | tuple):
        for value in obj:
            _check_keys(value)
