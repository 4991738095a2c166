from __future__ import annotations

import errno
import hashlib
import os
import time

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from arena.errors import ArenaError
from arena.store import read_recording, recordings, salvage_recording, write_recording
from arena.store.recordings import recording_path

DTYPES = [np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint8, np.uint16, np.uint32, np.uint64, np.bool_]


@pytest.fixture
def small_frames(monkeypatch):
    monkeypatch.setattr(recordings, "FRAME", 1000)


def actions(steps: int = 50, n: int = 20) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {"planner": rng.normal(size=(steps // 10, n, 3)).astype(np.float32), "worker": rng.integers(0, 5, (steps, n))}


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(
        a.dtype == second[k].dtype and a.shape == second[k].shape and a.tobytes() == second[k].tobytes() for k, a in first.items()
    )


ARRAYS = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, min_side=0)))


@settings(max_examples=60)
@given(st.dictionaries(st.text("abcé_", min_size=1), ARRAYS, max_size=3))
def test_what_is_written_is_read(tmp_path_factory, tensors):
    home = tmp_path_factory.mktemp("home")
    assert same(read_recording(home, write_recording(home, tensors)), tensors)


def test_any_memory_layout_is_stored_in_c_order(tmp_path):
    base = np.arange(24).reshape(4, 6)
    for array in (base.T, base[:, ::2], np.asfortranarray(base), base.astype(">i8")):
        read = read_recording(tmp_path, write_recording(tmp_path, {"a": array}))["a"]
        np.testing.assert_array_equal(read, array)
        read += 1  # the caller's own copy


def test_the_name_is_the_sha256_of_the_uncompressed_bytes_for_any_tool(tmp_path):
    digest = write_recording(tmp_path, actions())
    path = recording_path(tmp_path, digest)
    assert path.relative_to(tmp_path).as_posix() == f"recordings/{digest[:2]}/{digest}.zst"
    with open(path, "rb") as file:
        block = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    assert hashlib.sha256(block).hexdigest() == digest
    assert [file.name for file in path.parent.iterdir()] == [path.name], "no temporary file stays"


def test_equal_content_is_one_file_and_touched(tmp_path):
    digest = write_recording(tmp_path, actions())
    path = recording_path(tmp_path, digest)
    os.utime(path, (1, 1))
    inode = path.stat().st_ino
    assert write_recording(tmp_path, actions()) == digest
    assert path.stat().st_ino == inode and path.stat().st_mtime > time.time() - 60


def test_a_missing_recording(tmp_path):
    with pytest.raises(ArenaError) as error:
        read_recording(tmp_path, "ab" * 32)
    assert error.value.code == "store.recording_missing"


def frame_ends(content: bytes) -> list[int]:
    """Where the zstandard frames of a file end."""
    ends = []
    while not ends or ends[-1] < len(content):
        decoder = zstandard.ZstdDecompressor().decompressobj()
        decoder.decompress(content[ends[-1] if ends else 0 :])
        ends.append(len(content) - len(decoder.unused_data))
    return ends


def expected_rows(written: dict[str, np.ndarray], good: int, header: int) -> dict[str, int]:
    """Leading rows within the first `good` bytes; the wider type comes first in the file."""
    room = max(0, good - header)
    worker = min(50, room // (20 * 8))
    return {"worker": worker, "planner": min(5, max(0, room - 50 * 20 * 8) // (20 * 3 * 4))}


def check_salvage(path, written, good):
    import safetensors.numpy

    block = safetensors.numpy.save(written)
    header = 8 + int.from_bytes(block[:8], "little")
    saved = salvage_recording(path)
    assert not saved.intact and saved.reason and saved.good_bytes == good
    if good < header:
        assert saved.tensors is None
        return
    assert {name: len(tensor) for name, tensor in saved.tensors.items()} == expected_rows(written, good, header)
    assert saved.steps == {"planner": 5, "worker": 50}
    for name, tensor in saved.tensors.items():
        np.testing.assert_array_equal(tensor, written[name][: len(tensor)])


@pytest.mark.parametrize("where", np.linspace(0.0, 0.999, 25))
def test_a_flipped_bit_is_found_and_everything_before_its_frame_is_kept(tmp_path, small_frames, where):
    written = actions()
    digest = write_recording(tmp_path, written)
    path = recording_path(tmp_path, digest)
    content = bytearray(path.read_bytes())
    position = int(where * len(content))
    frame = sum(end <= position for end in frame_ends(bytes(content)))
    content[position] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(ArenaError) as error:
        read_recording(tmp_path, digest)
    assert error.value.code == "store.recording_damaged" and str(path) in error.value.message
    check_salvage(path, written, 1000 * frame)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_ends_early(tmp_path, small_frames, share):
    written = actions()
    path = recording_path(tmp_path, write_recording(tmp_path, written))
    content = path.read_bytes()
    size = int(share * len(content))
    path.write_bytes(content[:size])
    check_salvage(path, written, 1000 * sum(end <= size for end in frame_ends(content)))


def test_a_file_that_ends_between_frames(tmp_path, small_frames):
    written = actions()
    path = recording_path(tmp_path, write_recording(tmp_path, written))
    content = path.read_bytes()
    path.write_bytes(content[: frame_ends(content)[3]])
    check_salvage(path, written, 4000)


def test_dropped_frames_and_foreign_content_are_told_apart(tmp_path, small_frames):
    digest = write_recording(tmp_path, actions())
    other = write_recording(tmp_path, actions(steps=60))
    path = recording_path(tmp_path, digest)
    path.write_bytes(recording_path(tmp_path, other).read_bytes())
    saved = salvage_recording(path)
    assert not saved.intact and saved.tensors is None and saved.good_bytes == 0 and "name" in saved.reason
    path.write_bytes(recordings.zstandard.ZstdCompressor(write_checksum=True).compress(b"\x05\0\0\0\0\0\0\0hello"))
    assert salvage_recording(path).tensors is None


def test_bytes_after_the_end_lose_nothing(tmp_path):
    digest = write_recording(tmp_path, actions())
    path = recording_path(tmp_path, digest)
    path.write_bytes(path.read_bytes() + b"more")
    saved = salvage_recording(path)
    assert not saved.intact and same(saved.tensors, actions())


def test_a_full_disk_leaves_no_rubbish(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "recordings").mkdir()
    with pytest.raises(ArenaError) as error:
        write_recording(tmp_path, actions())
    assert error.value.code == "store.full" and not [p for p in tmp_path.rglob("*") if p.is_file()]


# ---- the collector --------------------------------------------------------------------------------------------------


def age(path, seconds=100_000):
    os.utime(path, (time.time() - seconds,) * 2)


def test_only_old_files_that_nothing_refers_to_are_removed(world):
    home = world.place.home
    digests = [write_recording(home, {"a": np.full(3, k)}) for k in range(4)]
    used, old, young, rescued = digests
    run = world.request(world.task(), world.agent())
    world.store.commit_chunk(run.id, world.chunk(world.store.entries(run.id)[0], 0, recording=used))
    paths = {digest: recording_path(home, digest) for digest in digests}
    stale, fresh = (paths[old].with_name(f".{name}.tmp") for name in ("stale", "fresh"))
    foreign = paths[old].with_name("notes.txt")
    for file in (stale, fresh, foreign):
        file.write_text("x")
    for path in (paths[used], paths[old], paths[rescued], stale, foreign):
        age(path)
    assert write_recording(home, {"a": np.full(3, 3)}) == rescued
    assert sorted(world.store.gc()) == sorted([paths[old], stale])
    assert all(path.exists() for path in (paths[used], paths[young], paths[rescued], fresh, foreign))
    assert world.store.gc() == [] and world.store.check() == []
    read_recording(home, used)


def test_a_file_that_a_writer_finds_while_it_is_collected_goes_back(tmp_path, monkeypatch):
    digest = write_recording(tmp_path, {"a": np.zeros(3)})
    path = recording_path(tmp_path, digest)
    age(path)
    rename = os.rename

    def writer_comes_first(source, target):
        if source == path:
            write_recording(tmp_path, {"a": np.zeros(3)})
        rename(source, target)

    monkeypatch.setattr(os, "rename", writer_comes_first)
    assert recordings.gc(tmp_path, set()) == []
    assert list(read_recording(tmp_path, digest)) == ["a"]
