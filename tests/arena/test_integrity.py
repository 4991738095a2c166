from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy
import zstandard
from sqlalchemy import select, update
from toy_domains import aim, entrant, walk

from arena import registry
from arena.errors import ArenaError
from arena.evaluation import execute, request
from arena.integrity import _actions, verify, with_checks
from arena.judging import judged
from arena.store import open_store, write_recording
from arena.store.recordings import FRAME, recording_path
from arena.store.schema import chunks, measurements, metrics, standing_draws, standings


@pytest.fixture
def kept(tmp_path):
    with open_store(None, tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def done(kept, tiny):
    agent = registry.candidate("random")
    return execute(kept, request(kept, tiny, agent), tiny, agent)


def recording(store, run_id, chunk):
    return recording_path(store.home, store.chunks(run_id)[chunk]["recording_digest"])


def rewrite(path, change, checks=False):
    """Alter the tensors of a recording and compress them again under the same name, in frames as the store writes them."""
    with zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True) as reader:
        tensors = {name: array.copy() for name, array in safetensors.numpy.load(reader.read()).items()}
    change(tensors)
    if checks:
        tensors = with_checks({name: array for name, array in tensors.items() if "." not in name})
    block = safetensors.numpy.save(tensors)
    compress = zstandard.ZstdCompressor(level=3, write_checksum=True, write_content_size=True).compress
    path.write_bytes(b"".join(compress(block[start : start + FRAME]) for start in range(0, len(block), FRAME)))


# ---- an intact run ----------------------------------------------------------------------------------------------------


def test_an_intact_run_is_verified(kept, tiny, done):
    assert done.verified is None
    found = verify(kept, done.id, tiny)
    assert found.ok and (found.chunks, found.scenarios, found.values) == (2, 16, 16 * 10)
    assert kept.run_row(done.id).verified is True and kept.board(tiny.id)[0]["verified"]


def test_a_sample_finds_faults_but_vouches_for_nothing(kept, tiny, done):
    found = verify(kept, done.id, tiny, sample=0.5)
    assert found.ok and (found.chunks, found.scenarios) == (1, 8) and kept.run_row(done.id).verified is None
    recording(kept, done.id, 0).unlink()
    assert not verify(kept, done.id, tiny, sample=0.5).ok and kept.run_row(done.id).verified is False


def test_an_unfinished_run_is_checked_as_far_as_it_is(kept, tiny):
    agent = registry.candidate("random")
    row = request(kept, tiny, agent, chunk=4)
    with pytest.raises(ArenaError) as error:
        verify(kept, row.id, tiny)
    assert error.value.code == "verify.empty" and error.value.exit_code == 5

    def stop(progress):
        if progress.done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(kept, row, tiny, agent, stop)
    assert verify(kept, row.id, tiny).scenarios == 8 and kept.run_row(row.id).verified is None


def test_the_agent_is_not_needed(kept, tiny, tmp_path):
    file = tmp_path / "passing.py"
    file.write_text("def bid(obs):\n    return 60\n")
    agent = registry.candidate(str(file))
    row = execute(kept, request(kept, tiny, agent), tiny, agent)
    file.unlink()
    assert verify(kept, row.id, tiny).ok


def test_verification_is_of_the_stored_task(kept, tiny, done):
    other = dataclasses.replace(tiny, floor=-0.5)
    found = verify(kept, done.id, other)
    assert not found.ok and {m.what.split(":")[0] for m in found.mismatches} == {"score"}


# ---- damaged recordings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_one_flipped_byte_of_a_recording(kept, tiny, done, place):
    path = recording(kept, done.id, 1)
    intact = path.read_bytes()
    damaged = bytearray(intact)
    damaged[int(place * (len(damaged) - 1))] ^= 0x10
    path.write_bytes(damaged)
    found = verify(kept, done.id, tiny)
    assert not found.ok and kept.run_row(done.id).verified is False
    assert {m.chunk for m in found.mismatches} == {1} and {m.scenario for m in found.mismatches} <= set(range(8, 16))
    assert all(0 <= m.step < 100 for m in found.mismatches)
    path.write_bytes(intact)
    assert verify(kept, done.id, tiny).ok and kept.run_row(done.id).verified, "mended, it is verified again"


def test_damage_that_decodes_is_named_to_the_scenario_and_step(kept):
    """A byte of a block that zstandard stores raw: the frame's own checksum breaks, but its content can still be read."""
    moves = np.random.default_rng(0).integers(-128, 128, (100, 64)).astype(np.int8)
    digest = write_recording(kept.home, with_checks({"player": moves}))
    path = recording_path(kept.home, digest)
    packed = bytearray(path.read_bytes())
    packed[bytes(packed).index(moves[41].tobytes()) + 17] ^= 1
    path.write_bytes(packed)
    task = SimpleNamespace(domain=SimpleNamespace(roles=[SimpleNamespace(name="player")]))
    actions, faults = _actions(kept, task, {"chunk": 2, "start": 128, "recording_digest": digest}, False)
    assert actions is None and [(m.chunk, m.scenario, m.step) for m in faults] == [(2, 128 + 17, 41)]


def test_a_file_of_several_frames_is_trusted_up_to_the_damage(tmp_path, tiny):
    """Steps whose frame is intact are certain; the first that is not is named."""
    task = walk(400)
    domain = task.domain
    domain.horizon = 2000  # a recording of three frames
    with open_store(None, tmp_path / "home") as store:
        agent = entrant("luck", lambda obs, brief, step: (brief.uniforms(step, 1)[:, 0] * 1.99).long() * 2 * (brief.scenario > 0))
        row = execute(store, request(store, task, agent, chunk=400), task, agent)
        path = recording(store, row.id, 0)
        packed = path.read_bytes()
        head = zstandard.ZstdDecompressor().decompressobj()
        head.decompress(packed)
        second = len(packed) - len(head.unused_data)
        path.write_bytes(packed[: second + 40])  # cut in the second frame
        first = verify(store, row.id, task).mismatches[0]
        assert first.scenario == 0 and 600 < first.step < 660, "256 kB of 400 bytes a step, less the checksums before them"


@pytest.mark.parametrize(("scenario", "step"), [(8, 0), (11, 57), (15, 99)])
def test_one_altered_action_is_named(kept, tiny, done, scenario, step):
    def alter(tensors):
        tensors["bidder"][step, scenario - 8] ^= 1

    rewrite(recording(kept, done.id, 1), alter)
    found = verify(kept, done.id, tiny).mismatches
    assert [(m.chunk, m.scenario, m.step) for m in found] == [(1, scenario, step)]
    assert found[0].what == "bidder's recorded actions were altered in 1 steps of 1 scenarios"


def test_several_altered_scenarios_are_all_named(kept, tiny, done):
    def alter(tensors):
        tensors["bidder"][[30, 40], [2, 5]] += 1

    rewrite(recording(kept, done.id, 1), alter)
    assert [(m.scenario, m.step) for m in verify(kept, done.id, tiny).mismatches] == [(10, 30), (13, 30)]


def test_a_forgery_with_matching_checksums_is_found_by_its_name_and_its_metrics(kept, tiny, done):
    def alter(tensors):
        tensors["bidder"][:, 3] = 0

    rewrite(recording(kept, done.id, 1), alter, checks=True)
    found = verify(kept, done.id, tiny).mismatches
    assert "not what the name promises" in found[0].what
    assert {m.scenario for m in found[1:]} == {11} and any(m.what.startswith("value: stored") for m in found)


def test_a_lost_recording_and_a_lost_chunk(kept, tiny, done):
    path = recording(kept, done.id, 0)
    path.rename(path.with_suffix(".away"))
    found = verify(kept, done.id, tiny).mismatches
    assert [(m.chunk, m.scenario, m.step) for m in found] == [(0, 0, 0)] and "there is no recording" in found[0].what
    path.with_suffix(".away").rename(path)
    kept.write(lambda c: c.execute(chunks.delete().where(chunks.c.chunk == 1)))
    assert [(m.chunk, m.scenario) for m in verify(kept, done.id, tiny).mismatches] == [(1, 8)]


def test_a_recording_that_was_unlinked_from_its_chunk(kept, tiny, done):
    kept.write(lambda c: c.execute(update(chunks).where(chunks.c.chunk == 1).values(recording_digest=None)))
    assert [(m.scenario, m.what) for m in verify(kept, done.id, tiny).mismatches] == [(8, "nothing was recorded")]


# ---- altered figures --------------------------------------------------------------------------------------------------


def alter_value(store, name, start, row, change):
    def work(connection):
        which = (measurements.c.start == start) & measurements.c.metric_id.in_(select(metrics.c.id).where(metrics.c.name == name))
        blob = connection.execute(select(measurements.c.vals).where(which)).scalar_one()
        values = np.frombuffer(blob, "<f8").copy()
        values[row] = change(values[row])
        connection.execute(update(measurements).where(which).values(vals=values.tobytes()))

    store.write(work)


@pytest.mark.parametrize("name", ["value", "score", "pacing_rmse"])
def test_the_last_bit_of_a_stored_number(kept, tiny, done, name):
    alter_value(kept, name, 8, 5, lambda x: np.nextafter(x, np.inf))
    found = verify(kept, done.id, tiny)
    assert [(m.chunk, m.scenario, m.step) for m in found.mismatches] == [(1, 13, 99)]
    assert found.mismatches[0].what.startswith(f"{name}: stored ") and kept.run_row(done.id).verified is False


def test_a_stored_vector_of_a_damaged_length(kept, tiny, done):
    kept.write(lambda c: c.execute(update(measurements).where(measurements.c.start == 8).values(vals=b"\0" * 61)))
    found = verify(kept, done.id, tiny)
    assert [(m.chunk, "scenario 15" in m.what) for m in found.mismatches] == [(1, True)]


@pytest.mark.parametrize(("name", "what"), [("headline", "headline: stored 9, derived -"), ("hi", "hi: stored 9, derived -"), ("draws", "its draws")])
def test_a_board_line_that_its_scores_do_not_make(kept, tiny, done, name, what):
    rand = registry.candidate("random")
    again = execute(kept, request(kept, tiny, rand, seed=1), tiny, rand)
    assert verify(kept, done.id, tiny).ok and verify(kept, again.id, tiny).ok
    table, value = (standing_draws, np.full(2000, 0.5, "<f4").tobytes()) if name == "draws" else (standings, 9.0)
    kept.write(lambda c: c.execute(update(table).values(**{name: value})))
    found = verify(kept, done.id, tiny)
    assert [what in m.what for m in found.mismatches] == [True] and not kept.board(tiny.id)[0]["verified"]


def test_a_failed_scenario_that_was_given_a_score(kept, tiny, from_file):
    agent = from_file("answers_wrongly:OutOfRange")
    row = execute(kept, request(kept, tiny, agent), tiny, agent)
    assert verify(kept, row.id, tiny).ok
    alter_value(kept, "score", 0, 3, lambda x: 0.9)
    assert [(m.scenario, m.what) for m in verify(kept, row.id, tiny).mismatches] == [(3, "score: stored 0.9, derived -1.0")]


def test_within_the_domains_tolerance(tmp_path):
    task = aim()
    with open_store(None, tmp_path / "home") as store:
        agent = entrant("luck", lambda obs, brief, step: brief.uniforms(step, 2) * 2 - 1)
        row = execute(store, request(store, task, agent), task, agent)
        assert verify(store, row.id, task).ok
        alter_value(store, "miss", 4, 1, lambda x: x * (1 + 1e-6))
        assert [m.what.split(":")[0] for m in verify(store, row.id, task).mismatches] == ["score"], "the score of another number"
        miss = store.metric_vectors(store.entries(row.id)[0].id)["miss"][4:8]
        consistent = judged(task, {"miss": miss}, np.zeros(4, bool), slice(4, 8))["score"]
        alter_value(store, "score", 4, 1, lambda x: consistent[1])
        assert verify(store, row.id, task).ok, "float arithmetic may differ so much between devices"
        alter_value(store, "miss", 4, 1, lambda x: x * (1 + 1e-4))
        assert ("miss", 5, 2) in [(m.what.split(":")[0], m.scenario, m.step) for m in verify(store, row.id, task).mismatches]


# ---- the checksums ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3), (2000, 3, 2)])
@pytest.mark.parametrize("kind", [np.int8, np.int16, np.float32, np.float64])
def test_one_altered_byte_breaks_one_sum_of_each(shape, kind):
    rng = np.random.default_rng(0)
    moves = (rng.random(shape) * 100).astype(kind)
    sums = with_checks({"r": moves})
    for _ in range(20):
        raw = moves.copy().view(np.uint8).reshape(shape[0], shape[1], -1)
        t, n, k = (int(rng.integers(size)) for size in raw.shape)
        raw[t, n, k] ^= 1 << int(rng.integers(8))
        altered = with_checks({"r": raw.reshape(-1).view(kind).reshape(shape)})
        assert np.flatnonzero(altered["r.steps"] != sums["r.steps"]).tolist() == [t]
        assert np.flatnonzero(altered["r.rows"] != sums["r.rows"]).tolist() == [n]


def test_empty_recordings_have_sums_too():
    found = with_checks({"r": np.zeros((0, 0), np.int8), "planner": np.zeros((3, 4, 1), np.float32)})
    assert found["r.steps"].shape == found["r.rows"].shape == (0,) and found["planner.rows"].shape == (4,)
