"""A bundle that is not what its store wrote is refused with the store as it was, or found out by the replay."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from io import BytesIO

import numpy as np
import pytest
import safetensors.numpy
import zstandard
from bundle_helpers import counts, members, packed, play, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from arena import registry
from arena.bundle import checking, export_runs, import_bundle, tables
from arena.bundle.archive import FIRST, read_archive
from arena.bundle.checking import RUNS, failed_scenarios
from arena.bundle.form import RunForm, written
from arena.errors import ArenaError
from arena.integrity import verify, with_checks
from arena.standings import summarise
from arena.store import PoolInput, open_store

# ---- one byte ----------------------------------------------------------------------------------------------------------


def spans(bundle):
    with open(bundle, "rb") as file:
        return {name: (member.start, member.start + member.size) for name, member in read_archive(file, "x").items()}


def test_one_flipped_byte_anywhere_is_refused_and_its_file_named(bundle, empty, tmp_path_factory):
    content, places = bundle.read_bytes(), spans(bundle)
    folder = tmp_path_factory.mktemp("flipped")
    shutil.copytree(empty, folder / "home")
    with open_store(None, folder / "home") as store:

        @settings(max_examples=150)
        @given(st.integers(0, len(content) - 1), st.integers(0, 7))
        def flip(place, bit):
            altered = bytearray(content)
            altered[place] ^= 1 << bit
            error = refused(store, folder / "x.arena.zip", altered)
            assert error.code == "bundle.damaged"
            inside = [name for name, (start, end) in places.items() if start <= place < end]
            assert not inside or (error.context["file"] == inside[0] and inside[0] in error.message)

        flip()


def test_every_byte_of_the_container_is_checked(bundle):
    """All headers, the directory and the end: what no checksum of ZIP covers."""
    content, inside = bundle.read_bytes(), np.zeros(bundle.stat().st_size, bool)
    for start, end in spans(bundle).values():
        inside[start:end] = True
    places = np.flatnonzero(~inside)
    assert 2000 < len(places) < 6000
    for place in places.tolist():
        altered = bytearray(content)
        altered[place] ^= 1 << place % 8
        with pytest.raises(ArenaError, match="x: |x "):
            read_archive(BytesIO(altered), "x")


@pytest.mark.parametrize("cut", [0, 1, 21, 22, 1000, -1])
def test_a_part_of_a_bundle_is_refused(bundle, fresh, tmp_path, cut):
    error = refused(fresh, tmp_path / "x.arena.zip", bundle.read_bytes()[:cut])
    assert error.code == "bundle.damaged" and "no bundle" in error.message


# ---- a member, and the manifest with it --------------------------------------------------------------------------------


def results(store, task):
    """All that is judged: the scores behind the boards, and the lines."""
    rows = [
        (line["headline"], line["lo"], line["hi"], line["failed"], line["draws"].tobytes()) for line in store.board(task.id, with_draws=True)
    ]
    entries = [entry["entry_id"] for line in store.board(task.id) for entry in store.pooled_entries(line["task_id"], [line["agent_id"]])]
    return sorted(rows), sorted(store.scores([entry]).tobytes() for entry in entries)


def test_a_forger_who_also_mends_the_manifest_changes_no_result(bundle, original, empty, tiny, tmp_path_factory):
    """One altered byte in one member: refused, or found by the replay, or of no consequence for anything that is judged."""
    folder = tmp_path_factory.mktemp("forged")
    with open_store(None, folder / "honest") as store:
        for run in import_bundle(store, bundle).runs:
            assert verify(store, run.run, tiny).ok
        honest = results(store, tiny)
    fates = []

    @settings(max_examples=45)
    @given(st.sampled_from(sorted(set(original) - {FIRST})), st.floats(0, 1, exclude_max=True), st.integers(0, 7))
    def forge(name, place, bit):
        altered = bytearray(original[name])
        altered[int(place * len(altered))] ^= 1 << bit
        shutil.rmtree(folder / "home", ignore_errors=True)
        shutil.copytree(empty, folder / "home")
        path = folder / "x.arena.zip"
        path.write_bytes(packed(original | {name: bytes(altered)}))
        with open_store(None, folder / "home") as store:
            before = counts(store)
            try:
                found = import_bundle(store, path)
            except ArenaError as error:
                assert error.exit_code == 5 and counts(store) == before and not list((store.home / "recordings").glob("*/*"))
                fates.append("refused")
                return
            if all([verify(store, run.run, tiny).ok for run in found.runs]):
                assert results(store, tiny) == honest
                fates.append("of no consequence")
            else:
                fates.append("found")

    forge()
    assert fates.count("refused") > 15 and len(set(fates)) > 1


def document(original):
    return json.loads(original[RUNS])


def forged_scores(original, task, name, place, change):
    """The bundle in which one value is another, and the score and the board lines are what follows from it."""
    runs = [RunForm.model_validate(run) for run in document(original)["runs"]]
    wanted = [(run.uid, [(0, metric) for metric in run.entries[0].metrics], task.n) for run in runs]
    vectors = {run.uid: found for run, found in zip(runs, tables.read_measurements(original[tables.MEASUREMENTS], wanted), strict=True)}
    chosen = next(run for run in runs if run.entries[0].failures == 0)
    vectors[chosen.uid][0, name][place] = change(vectors[chosen.uid][0, name][place])
    lines = []
    for line, record in tables.read_standings(original[tables.STANDINGS]):
        pooled = sorted((run for run in runs if run.uid in line["runs"]), key=lambda run: run.seed)
        stacked = {metric: np.stack([vectors[run.uid][0, metric] for run in pooled]) for metric in pooled[0].entries[0].metrics}
        failed = np.stack([failed_scenarios(run, task) for run in pooled])
        ones = np.ones(len(pooled), int)
        pool = PoolInput(0, 0, task.role, (), (), (), stacked["score"], failed, ones, ones, stacked.__getitem__)
        made = summarise(task, pool)
        numbers = {field: getattr(made, field) for field in made.__slots__} | {"ms": record.ms, "runs_unfinished": 0}
        lines.append({**numbers, **line})
    values = tables.write_measurements((run.uid, vectors[run.uid]) for run in runs)
    return packed(original | {tables.MEASUREMENTS: values, tables.STANDINGS: tables.write_standings(lines)}), chosen.uid


@pytest.mark.parametrize("name", ["score", "value"])
def test_altered_results_that_agree_with_each_other_are_found_by_the_replay(original, fresh, tiny, tmp_path, name):
    content, uid = forged_scores(original, tiny, name, 5, lambda x: x + 0.01)
    (tmp_path / "x.arena.zip").write_bytes(content)
    found = {run.uid: run.run for run in import_bundle(fresh, tmp_path / "x.arena.zip").runs}
    for number in found.values():
        checked = verify(fresh, number, tiny)
        assert checked.ok == (number != found[uid])
        if not checked.ok:
            assert {m.scenario for m in checked.mismatches} == {5} and any(m.what.startswith(name) for m in checked.mismatches)
    row = fresh.run_row(found[uid])
    assert row.verified is False and not row.ranked and sum(line["runs"] for line in fresh.board(tiny.id)) == 3


def test_altered_values_that_do_not_agree_with_the_board_lines_are_refused(original, fresh, tiny, tmp_path):
    content, _ = forged_scores(original, tiny, "score", 5, lambda x: x + 0.01)
    values = members_of(content)[tables.MEASUREMENTS]
    error = refused(fresh, tmp_path / "x.arena.zip", packed(original | {tables.MEASUREMENTS: values}))
    assert error.context["file"] == tables.STANDINGS and "is not what its runs make: headline" in error.message


def members_of(content):
    return {name: content[m.start : m.start + m.size] for name, m in read_archive(BytesIO(content), "x").items()}


def test_a_run_that_is_here_with_other_values_is_a_conflict(bundle, original, fresh, tiny, tmp_path):
    import_bundle(fresh, bundle)
    before = counts(fresh)
    content, uid = forged_scores(original, tiny, "score", 5, lambda x: x + 0.01)
    (tmp_path / "x.arena.zip").write_bytes(content)
    with pytest.raises(ArenaError, match=f"run {uid[:6]} of the bundle is run") as error:
        import_bundle(fresh, tmp_path / "x.arena.zip")
    assert error.value.code == "bundle.conflict" and counts(fresh) == before


def test_an_agent_that_is_here_with_other_content_is_a_conflict(bundle, original, fresh, tmp_path):
    import_bundle(fresh, bundle)
    found = document(original)
    fresh.write(lambda c: c.exec_driver_sql("UPDATE agents SET nature = 'learned' WHERE name = 'pid'"))
    assert [agent["name"] for agent in found["agents"] if agent["name"] == "pid"]
    with pytest.raises(ArenaError, match="has the uid of pid@1, which has other content") as error:
        import_bundle(fresh, bundle)
    assert error.value.code == "bundle.conflict"


# ---- what is written in runs.json ----------------------------------------------------------------------------------------


def moody(found):
    return next(run for run in found["runs"] if run["failures"])


def swap(found, key, value, of=lambda found: found["runs"][0]):
    of(found)[key] = value


EDITS = {
    "an unknown field": (lambda d: swap(d, "note", "x"), "runs.0.note: extra inputs are not permitted"),
    "a field of another kind": (lambda d: swap(d, "seed", "0"), "runs.0.seed: input should be a valid integer"),
    "a seed beyond int64": (lambda d: swap(d, "seed", 2**63), "runs.0.seed"),
    "a NUL in a name": (lambda d: swap(d, "name", "a\0b", lambda d: d["agents"][0]), "agents.0.name: value error, text with a nul"),
    "a NUL deep in a spec": (lambda d: d["agents"][0]["spec"].update({"x": [{"a\0": 1}]}), "agents.0.spec"),
    "no runs": (lambda d: d.update(runs=[]), "runs: list should have at least 1 item"),
    "a run twice": (lambda d: d["runs"].append(d["runs"][0]), "is there twice"),
    "an unknown agent": (lambda d: swap(d, "agent", "0" * 32, lambda d: d["runs"][0]["entries"][0]), "is named by a run and not there"),
    "an agent without a run": (lambda d: d["agents"].append({**d["agents"][0], "uid": "0" * 32, "name": "z"}), "belongs to no run"),
    "two agents of one name and version": (lambda d: [agent.update(name="one", version=1) for agent in d["agents"]], "agent one@1 is there twice"),
    "another environment": (lambda d: swap(d, "environment", "0" * 64), "is named by a run and not there"),
    "an altered spec": (lambda d: d["agents"][0]["spec"].update(x=1), "is not what its digest says"),
    "another nature": (lambda d: swap(d, "nature", "llm", lambda d: d["agents"][0]), "is not what its digest says"),
    "a registered agent": (lambda d: d["agents"][0]["spec"].update(registered=True), "is not what its digest says"),
    "another direction of a metric": (lambda d: swap(d, "direction", -1, lambda d: d["tasks"][0]["metrics"][0]), "is not that of the task"),
    "another floor": (lambda d: swap(d, "floor", -0.5, lambda d: d["tasks"][0]), "is not that of the task"),
    "a chunk less": (lambda d: d["runs"][0]["chunks"].pop(), "belongs to no run|its chunks are not those of the task"),
    "a chunk that overlaps": (lambda d: swap(d, "start", 7, lambda d: d["runs"][0]["chunks"][1]), "its chunks are not those of the task"),
    "no candidate": (lambda d: swap(d, "candidate", False, lambda d: d["runs"][0]["entries"][0]), "the first entry is not the candidate"),
    "another role": (lambda d: swap(d, "role", "seller", lambda d: d["runs"][0]["entries"][0]), "the first entry is not the candidate"),
    "a second entry": (lambda d: d["runs"][0]["entries"].append(d["runs"][0]["entries"][0]), "its roles are not those of the task"),
    "a seat": (lambda d: swap(d, "seat", 3, lambda d: d["runs"][0]["entries"][0]), "the seat of bidder"),
    "a failure less": (lambda d: moody(d)["failures"].pop(), "the failures of bidder do not add up"),
    "a failure twice": (lambda d: moody(d)["failures"].__setitem__(0, moody(d)["failures"][1]), "its failures lie outside"),
    "a failure elsewhere": (lambda d: swap(d, "scenario", 999, lambda d: moody(d)["failures"][0]), "its failures lie outside"),
    "a failure of nobody": (lambda d: swap(d, "entry", 5, lambda d: moody(d)["failures"][0]), "do not add up|lie outside"),
    "another failure": (lambda d: swap(d, "scenario", 3, lambda d: moody(d)["failures"][0]), r"in scenario [23] of run \w+, which"),
    "a timing elsewhere": (lambda d: swap(d, "start", 3, lambda d: d["runs"][0]["timings"][0]), "its timings lie outside"),
    "a negative count of decisions": (lambda d: d["runs"][0]["timings"][0]["hist"].append(-1), "runs.0.timings.0.hist"),
    "a metric less": (lambda d: d["runs"][0]["entries"][0]["metrics"].pop(), "it measures"),
    "metrics in another order": (lambda d: d["runs"][0]["entries"][0]["metrics"].reverse(), "column 'metric' of run"),
    "no recording": (lambda d: swap(d, "recording", None, lambda d: d["runs"][0]["chunks"][0]), "belongs to no run|has no recording"),
    "no task": (lambda d: d["runs"][0]["config"].pop("task"), "does not say its task"),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_contradictions_are_refused(original, fresh, tmp_path, name):
    edit, reason = EDITS[name]
    found = document(original)
    edit(found)
    error = refused(fresh, tmp_path / "x.arena.zip", packed(original | {RUNS: written(found)}))
    assert error.code == "bundle.damaged" and re.search(reason, error.message), error.message


@pytest.mark.parametrize(
    "content",
    [b"", b"[]\n", b"null\n", b"{", b'{"a":NaN}\n', b'{"a":1,"a":1}\n', b'{"a": 1}\n', b"\xff\n", b"[" * 100_000, b'{"a":"\\ud800"}\n', b"1" * 5000],
    ids=range(11),
)
def test_what_is_no_document_is_refused(original, fresh, tmp_path, content):
    for name in (RUNS, "environment.json"):
        error = refused(fresh, tmp_path / "x.arena.zip", packed(original | {name: content}))
        assert error.code == "bundle.damaged" and error.context["file"] == name
    error = refused(fresh, tmp_path / "x.arena.zip", packed(original, content))
    assert error.code == "bundle.damaged" and error.context["file"] == FIRST


def test_an_altered_environment_and_a_card_of_nobody(original, fresh, tmp_path):
    machine = json.loads(original["environment.json"])
    next(iter(machine.values()))["cpu"] = "another"
    assert "is not what its digest says" in refused(fresh, tmp_path / "x", packed(original | {"environment.json": written(machine)})).message
    assert "belongs to no run" in refused(fresh, tmp_path / "x", packed(original | {f"cards/{'0' * 32}.md": b"x"})).message
    card = next(name for name in original if name.startswith("cards/"))
    assert "no UTF-8" in refused(fresh, tmp_path / "x", packed(original | {card: b"\xff"})).message


def test_an_unknown_form_is_refused_with_the_version_that_wrote_it(original, fresh, tmp_path):
    manifest = json.loads(original[FIRST]) | {"schema": "arena.bundle/9", "arena": "7.1"}
    error = refused(fresh, tmp_path / "x.arena.zip", packed(original, manifest))
    assert error.code == "bundle.schema" and "arena.bundle/9" in error.message and "arena 7.1" in error.hint


# ---- tasks ---------------------------------------------------------------------------------------------------------------


def test_a_task_of_another_digest_is_refused_with_both(original, fresh, tmp_path, tiny):
    found = document(original)
    for run in found["runs"]:
        run["task"] = "0" * 64
    found["tasks"][0]["digest"] = "0" * 64
    error = refused(fresh, tmp_path / "x.arena.zip", packed(original | {RUNS: written(found)}))
    assert error.code == "bundle.task_unknown" and "digest 000000000000" in error.message and tiny.digest[:12] in error.message
    assert "install the version of the domain" in error.hint


def test_a_task_that_is_not_known_or_has_changed_here_is_refused(bundle, original, fresh, tmp_path, monkeypatch):
    found = document(original)
    for run in found["runs"]:
        run["config"]["task"] = "chess/tiny-v1"
    found["tasks"][0]["name"] = "chess/tiny-v1"
    error = refused(fresh, tmp_path / "x.arena.zip", packed(original | {RUNS: written(found)}))
    assert error.code == "bundle.task_unknown" and "no domain is called 'chess'" in error.message

    def changed(reference):
        raise ArenaError("task.changed", f"{reference} is not the task that was frozen", "restore it")

    monkeypatch.setattr(registry, "task", changed)
    error = refused(fresh, tmp_path / "x.arena.zip", bundle.read_bytes())
    assert error.code == "bundle.task_unknown" and "is not the task that was frozen" in error.message and error.hint == "restore it"


# ---- recordings ----------------------------------------------------------------------------------------------------------


def with_recording(original, change, checks=True):
    """The bundle in which the first chunk of dual, 4 scenarios, has other actions, under the digest that they have."""
    found = document(original)
    dual = next(agent["uid"] for agent in found["agents"] if agent["name"] == "dual")
    chunk = next(run for run in found["runs"] if run["entries"][0]["agent"] == dual)["chunks"][0]
    old = chunk["recording"]
    name = f"recordings/{old[:2]}/{old}.zst"
    moves = {key: value.copy() for key, value in safetensors.numpy.load(checking.unpacked(original[name], name)).items()}
    moves = change(moves) or moves
    if checks:
        moves = with_checks({key: value for key, value in moves.items() if "." not in key})
    block = safetensors.numpy.save(moves)
    chunk["recording"] = new = hashlib.sha256(block).hexdigest()
    files = {key: value for key, value in original.items() if key != name}
    return files | {f"recordings/{new[:2]}/{new}.zst": zstandard.ZstdCompressor().compress(block), RUNS: written(found)}


def test_other_actions_are_found_by_the_replay(original, fresh, tiny, tmp_path):
    def change(moves):
        moves["bidder"][:50, 2] = 300

    (tmp_path / "x.arena.zip").write_bytes(packed(with_recording(original, change)))
    found = {run.agent: verify(fresh, run.run, tiny) for run in import_bundle(fresh, tmp_path / "x.arena.zip").runs}
    assert found["pid@1"].ok and found["moody@1"].ok and {m.scenario for m in found["dual@1"].mismatches} == {2}


@pytest.mark.parametrize(
    ("change", "checks", "reason"),
    [
        (lambda m: m["bidder"].__setitem__((0, 0), 301), True, "an action of bidder is not legal: value 301, allowed 0..300"),
        (lambda m: m["bidder"].__setitem__((0, 0), -1), True, "an action of bidder is not legal: value -1"),
        (lambda m: {"bidder": m["bidder"][:, :3]}, True, "expected at most 100 times [4]"),
        (lambda m: {"bidder": np.concatenate([m["bidder"]] * 2)}, True, "expected at most 100 times [4]"),
        (lambda m: {"bidder": m["bidder"].astype(np.float32)}, True, "dtype float32"),
        (lambda m: {"seller": m["bidder"]}, True, "which is not a recording of bidding/tiny-v1"),
        (lambda m: {**m, "more": m["bidder"]}, False, "which is not a recording of bidding/tiny-v1"),
        (lambda m: m["bidder"].__setitem__((0, 0), m["bidder"][0, 0] ^ 1), False, "is not the checksum of the actions"),
        (lambda m: {"bidder": np.array(1), **{k: v for k, v in m.items() if "." in k}}, False, "holds actions []"),
    ],
)
def test_actions_that_nobody_could_take_are_refused(original, fresh, tmp_path, change, checks, reason):
    error = refused(fresh, tmp_path / "x.arena.zip", packed(with_recording(original, change, checks)))
    assert error.code == "bundle.damaged" and reason in error.message and "recordings/" in error.message


def test_a_recording_under_a_false_name_or_that_cannot_be_unpacked(original, fresh, tmp_path):
    first, second = [name for name in sorted(original) if name.startswith("recordings/")][:2]
    error = refused(fresh, tmp_path / "x", packed(original | {first: original[second]}))
    assert error.context["file"] == first and "not what its name promises" in error.message
    assert "cannot be unpacked" in refused(fresh, tmp_path / "x", packed(original | {first: b"no zstd at all"})).message
    assert "not what its name promises" in refused(fresh, tmp_path / "x", packed(original | {first: original[first][:-40]})).message
    less = {name: content for name, content in original.items() if name != first}
    assert "is named by a run and not there" in refused(fresh, tmp_path / "x", packed(less)).message


def test_a_frozen_agent_that_is_another_is_refused(tmp_path, fresh, monkeypatch):
    from toy_domains import village

    task = village(("worker",), {"planner": "toy-planner"})
    monkeypatch.setattr(registry, "task", {task.id: task}.__getitem__)
    with open_store(None, tmp_path / "origin") as there:
        play(there, task, registry.candidate("toy-worker"))
        export_runs(there, [1], tmp_path / "x.arena.zip")
    object.__setattr__(task, "fill", {"planner": "toy-worker"})  # the digest, once computed, does not follow
    found = members(tmp_path / "x.arena.zip")
    runs = json.loads(found[RUNS])
    runs["tasks"][0]["config"]["fill"] = {"planner": "toy-worker"}
    error = refused(fresh, tmp_path / "y.arena.zip", packed(found | {RUNS: written(runs)}))
    assert "planner is not played by toy-worker" in error.message
