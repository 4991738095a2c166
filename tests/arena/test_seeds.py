from __future__ import annotations

import hashlib

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from arena.seeds import hash64, scenario_seed, scenario_seeds, stream_key, uniforms

MASK = (1 << 64) - 1


def mixed(value: int) -> int:
    """SplitMix64's finaliser in Python integers."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
def test_the_hash_is_splitmix64(values):
    assert [v & MASK for v in hash64(torch.tensor(values)).tolist()] == [mixed(v & MASK) for v in values]


def test_splitmix64_as_published():
    """First outputs of the generator with state 1234567 (a test vector in wide use)."""
    golden = torch.tensor([0x9E3779B97F4A7C15 - (1 << 64)])
    outputs = [int(hash64(1234567 + k * golden)) & MASK for k in range(3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(key=st.integers(-(2**63), 2**63 - 1), scenario=st.integers(0, 2**40), step=st.integers(0, 10**6))
def test_uniforms_in_python_integers(key, scenario, step):
    row = mixed((mixed((scenario ^ key) & MASK) + step) & MASK)
    wanted = [(mixed((row + j) & MASK) >> 11) * 2.0**-53 for j in range(3)]
    assert uniforms(key, torch.tensor([scenario]), step, 3)[0].tolist() == wanted


def test_a_scenarios_luck_does_not_depend_on_its_company():
    key, ids = stream_key(3, "bidder", -1), torch.arange(1000)
    together = uniforms(key, ids, 5, 4)
    assert torch.equal(uniforms(key, ids[700:701], 5, 4), together[700:701]) and torch.equal(uniforms(key, ids.flip(0), 5, 4), together.flip(0))
    assert torch.equal(uniforms(key, ids, 5, 2), together[:, :2])


def test_uniforms_look_uniform_and_streams_unrelated():
    ids = torch.arange(20_000)
    drawn = [uniforms(stream_key(seed, "bidder", -1), ids, step, 2) for seed in (0, 1) for step in (0, 1)]
    columns = torch.cat(drawn, 1).numpy()
    assert columns.min() >= 0 and columns.max() < 1
    counts = np.stack([np.histogram(c, 50, (0, 1))[0] for c in columns.T])
    assert (((counts - 400) ** 2 / 400).sum(1) < 95).all(), "chi-square with 49 degrees of freedom, p about 1e-4"
    assert np.abs(np.corrcoef(columns.T) - np.eye(8)).max() < 0.03


def test_keys_tell_streams_apart():
    keys = {stream_key(seed, role, seat) for seed in range(20) for role in ("planner", "worker") for seat in (-1, 0, 1)}
    assert len(keys) == 120 and all(-(2**63) <= key < 2**63 for key in keys)
    assert stream_key(1, "ab") == stream_key(1, "ab") != stream_key("1a", "b")


def test_a_scenarios_seed_comes_from_its_name():
    name = b"bidding/tiny-v1/test/3"
    assert scenario_seed("bidding/tiny-v1", "test", 3) == int(hashlib.sha256(name).hexdigest()[:32], 16)
    assert scenario_seeds("t", "train", np.array([5, 2])) == [scenario_seed("t", "train", 5), scenario_seed("t", "train", 2)]
    every = {scenario_seed(task, split, i) for task in ("a", "b") for split in ("train", "val", "test") for i in range(50)}
    assert len(every) == 300 and max(every) >= 2**120
