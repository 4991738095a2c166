"""Digests: one content, one name, on every machine and in every memory layout."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.digest import array_digest, canonical_json, digest
from arena.errors import ArenaError


def test_the_digest_of_the_specification() -> None:
    assert digest({"a": [1.5, "x"], "b": 1}) == "27edd5497e48a293750749399a10333aae187927cecaf38c5ac50f54bbaa13b7"


def test_canonical_form() -> None:
    assert canonical_json({"b": (1, 2.0, None, True), "a": "zl\u00e9"}) == '{"a":"zlé","b":[1,2.0,null,true]}'.encode()
    assert canonical_json(0.1 + 0.2) == b"0.30000000000000004"
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    assert digest(1) != digest(1.0)


@pytest.mark.parametrize("obj", [float("nan"), [float("inf")], {1: "a"}, {"a": {None: 1}}, {1, 2}, np.float32(1), b"x", "\ud800"])
def test_what_has_no_canonical_form_is_refused(obj: object) -> None:
    with pytest.raises(ArenaError) as error:
        digest(obj)
    assert error.value.code == "digest.not_canonical"


def test_array_digest_is_dtype_shape_and_bytes() -> None:
    values = np.arange(6, dtype="<f8").reshape(2, 3)
    assert array_digest(values) == hashlib.sha256(b'["<f8",[2,3]]' + values.tobytes()).hexdigest()
    same = [values.astype(">f8"), np.asfortranarray(values), np.arange(12, dtype=float).reshape(2, 6)[:, ::2] / 2]
    assert {array_digest(a) for a in same} == {array_digest(values)}
    other = [values.astype("f4"), values.astype("i8"), values.reshape(3, 2), values.ravel(), values + 1]
    assert len({array_digest(a) for a in [values, *other]}) == 6


@pytest.mark.parametrize("array", [np.array(3.0), np.zeros((0, 4)), np.array([True, False]), np.array(["ab", "c"]), np.array([np.inf, -np.inf])])
def test_unusual_arrays_have_a_digest(array: np.ndarray) -> None:
    assert array_digest(array) == array_digest(array.copy())


@pytest.mark.parametrize("array", [np.array([1.0, np.nan]), np.array([{}, 1], dtype=object), np.zeros(2, dtype="f8,i4")])
def test_arrays_without_fixed_bytes_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ArenaError) as error:
        array_digest(array)
    assert error.value.code == "digest.not_canonical"


@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers() | st.floats(allow_nan=False, allow_infinity=False), max_size=6)
)
def test_order_of_keys_never_matters(mapping: dict[str, float]) -> None:
    assert digest(dict(reversed(mapping.items()))) == digest(mapping)
