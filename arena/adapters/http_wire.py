"""Messages of the agent protocol, version 1 (arena/adapters/openapi.json), and their two encodings.

In MessagePack an array is {dtype: "<f4", shape, data: bytes, C order}; in JSON it is nested lists, where a number that is not finite is null.
What a server sends is read strictly: unknown fields, other types, arrays whose bytes do not fit their shape are violations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgpack
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json, to_json

PROTOCOL = 1
Encoding = Literal["msgpack", "json"]
MEDIA: Mapping[Encoding, str] = {"msgpack": "application/msgpack", "json": "application/json"}
DTYPES = ("|b1", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8")
Array = NDArray[Any]
Text = Annotated[str, Field(max_length=200)]


class Violation(Exception):
    """What a server sent is not what the protocol says."""


class Message(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class About(Message):
    """What a server says of itself: whom it can play (roles, globs of tasks) and how many rows it takes at once."""

    protocol: int
    name: Text
    version: Text
    roles: list[Text]
    tasks: list[Text]
    max_batch: Annotated[int, Field(ge=1)]


class Packed(Message):
    dtype: str
    shape: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=32)]
    data: bytes


class PackedAnswer(Message):
    seq: int
    action: Packed


class PlainAnswer(Message):
    seq: int
    action: list[Any]


# ---- what is sent ----------------------------------------------------------------------------------------------------------


def encode(message: Mapping[str, Any], encoding: Encoding) -> bytes:
    """A request's body; arrays in it in the form of the encoding."""
    if encoding == "msgpack":
        packed: bytes = msgpack.packb(message, default=_packed)
        return packed
    return to_json(message, fallback=lambda array: array.tolist(), inf_nan_mode="null")


def _packed(value: Any) -> dict[str, Any]:
    little = np.ascontiguousarray(value, np.dtype(value.dtype).newbyteorder("<"))
    return {"dtype": little.dtype.str, "shape": list(value.shape), "data": little.tobytes()}


# ---- what is read ----------------------------------------------------------------------------------------------------------


def decode(body: bytes, encoding: Encoding) -> Any:
    """Raises Violation for what is not of that encoding; JSON has no NaN and no infinity."""
    try:
        if encoding == "msgpack":
            return msgpack.unpackb(body, raw=False)
        return from_json(body, allow_inf_nan=False)
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise Violation(f"no {MEDIA[encoding]}: {error or type(error).__name__}") from error


def parse(model: type[Message], found: Any) -> Any:
    """The message, checked. Raises Violation naming the first field that is wrong."""
    try:
        return model.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the message"
        raise Violation(f"{place}: {first['msg'].lower()}") from error


def answer(body: bytes, encoding: Encoding, space: spaces.Space[Any]) -> tuple[int, Any]:
    """(seq, action): an array [rows, ...], or a list with one array per row where rows differ in shape or kind.

    JSON knows one kind of number: for a space of floats all are floats. Raises Violation.
    """
    found = decode(body, encoding)
    if encoding == "msgpack":
        packed: PackedAnswer = parse(PackedAnswer, found)
        return packed.seq, _array(packed.action)
    plain: PlainAnswer = parse(PlainAnswer, found)
    floats = np.dtype(space.dtype).kind == "f"
    return plain.seq, _rows(plain.action, floats)


def _array(packed: Packed) -> Array:
    if packed.dtype not in DTYPES:
        raise Violation(f"action.dtype {packed.dtype[:20]!r}, expected one of {' '.join(DTYPES)}")
    kind = np.dtype(packed.dtype)
    if math.prod(packed.shape) * kind.itemsize != len(packed.data):
        raise Violation(f"action: {len(packed.data)} bytes for shape {packed.shape} of {packed.dtype}")
    try:
        return np.frombuffer(packed.data, kind).reshape(packed.shape)
    except ValueError as error:  # an empty array with axes beyond all bounds
        raise Violation(f"action.shape {packed.shape}: {error}") from error


def _rows(listed: list[Any], floats: bool) -> Any:
    rows = []
    for item in listed:
        try:
            row = np.asarray(item)
        except (ValueError, OverflowError):  # ragged: this row is judged to be no array
            row = np.asarray(None)
        rows.append(row.astype(np.float64) if floats and row.dtype.kind in "iu" else row)
    if not rows or any(row.shape != rows[0].shape or row.dtype != rows[0].dtype for row in rows):
        return rows
    return np.stack(rows)
