"""BQ-NCO's labels and training: solvers against exact optima, resuming bit for bit, and that there is something to learn from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.combinatorial import bq_labels, bq_selflabel, bq_training
from agents.combinatorial.bq_data import Labels
from agents.combinatorial.bq_decode import beam, given, greedy, whole, worth
from agents.combinatorial.bq_labels import load_labels, make_labels, solve, stream
from agents.combinatorial.bq_nco import BqNco
from agents.combinatorial.bq_net import BqNet, Shape, load_net
from agents.combinatorial.bq_training import Learner, Validation, rate_at
from arena import registry
from arena.errors import ArenaError
from arena.learning.checkpoints import load_checkpoint
from arena.rollout import players, rollout
from domains.combinatorial.checker import evaluate
from domains.combinatorial.exact import held_karp, knapsack, orienteering, vehicle_routing
from domains.combinatorial.scenarios import instances

torch.set_num_threads(1)
TINY = Shape(2, 32, 4, 64)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of seconds."""
    monkeypatch.setattr(bq_labels, "SHARD", 80)
    monkeypatch.setattr(bq_selflabel, "SHARD", 30)
    monkeypatch.setattr(bq_training, "VALID", 16)
    size = replace(bq_training.SIZES["cpu"], labels=160, batch=32, steps=8, every=4)
    monkeypatch.setattr(bq_training, "SIZES", {**bq_training.SIZES, "cpu": size})
    monkeypatch.setattr(bq_training, "SHAPES", {"cpu": TINY, "full": TINY})
    own = replace(bq_selflabel.SIZES["cpu"], rounds=2, samples=4, search=2, steps=3, batch=32, valid=16)
    monkeypatch.setattr(bq_selflabel, "SIZES", {**bq_selflabel.SIZES, "cpu": own})
    monkeypatch.setattr(bq_selflabel, "SHAPES", {"cpu": TINY})


def nothing(line: dict[str, float]) -> None:
    pass


def distances(points: Any) -> Any:
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))


def cut(problem: str, count: int, n: int) -> dict[str, Any]:
    """Training instances of fewer nodes, which exact solvers do in milliseconds."""
    found = stream(problem, 50 if problem == "kp" else 20, 0, count)
    first = n if problem in ("tsp", "kp") else n + 1
    kept = {name: array[:, :first] if array.ndim > 1 else array for name, array in found.items()}
    return {**kept, "capacity": np.full(count, 3000)} if problem == "kp" else kept


@pytest.mark.parametrize("problem", ["tsp", "op", "kp", "cvrp"])
def test_labels_are_optimal_where_that_can_be_proved(problem: str) -> None:
    arrays = cut(problem, 12, 10)
    solved = solve(problem, arrays, 500 if problem == "cvrp" else 40)
    judged = evaluate(problem, instances(**arrays), torch.from_numpy(solved["order"]), torch.from_numpy(solved["via"]))
    assert judged.feasible.all()
    best = []
    for row in range(12):
        lengths = distances(arrays["coords"][row]) if problem != "kp" else None
        if problem == "tsp":
            best.append(held_karp(lengths)[0])
        elif problem == "op":
            best.append(orienteering(lengths, arrays["prize"][row], float(arrays["budget"][row]))[0])
        elif problem == "cvrp":
            best.append(vehicle_routing(lengths, arrays["demand"][row], int(arrays["capacity"][row]))[0])
        else:
            best.append(knapsack(arrays["prize"][row], arrays["demand"][row], 3000)[0])
    gap = (judged.cost.numpy() / np.array(best) - 1) * 100
    assert np.abs(gap).mean() < 0.5 and (np.abs(gap) < 1e-4).mean() >= 0.9


def test_labels_are_kept_and_completed(tmp_path: Path) -> None:
    make_labels("tsp", 8, 160, tmp_path, 2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "00001.order.npy").unlink()
    told: list[int] = []
    make_labels("tsp", 8, 160, tmp_path, 2, 1, told.append)
    assert told == [160] and {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    make_labels("tsp", 8, 240, tmp_path, 2, 2)
    found = load_labels(tmp_path, 200)
    assert len(found["order"]) == 200 and found["coords"].dtype == np.uint16 and (np.sort(found["order"], 1) == np.arange(1, 8)).all()
    with pytest.raises(ArenaError, match="label.folder|holds labels"):
        make_labels("tsp", 8, 80, tmp_path, 3)
    with pytest.raises(ArenaError, match="not there"):
        load_labels(tmp_path, 1000)


def test_training_stream_is_not_the_test_set() -> None:
    test = registry.task("combinatorial/tsp20-tiny-v1").scenarios.coords.numpy()  # type: ignore[attr-defined]
    drawn = stream("tsp", 20, 0, 500)["coords"]
    assert np.abs(test[:, None, 0] - drawn[None, :, 0]).max(-1).min() > 1e-4


@pytest.mark.parametrize("problem", ["tsp", "op", "kp"])
def test_resumed_training_is_uninterrupted_training(problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = {"tsp": ["tsp8", "tsp11"], "op": ["op20"], "kp": ["kp-hard12"]}[problem]
    monkeypatch.setattr(bq_labels, "EFFORT", dict.fromkeys(bq_labels.EFFORT, 1))
    monkeypatch.setattr(bq_training, "EFFORT", dict.fromkeys(bq_labels.EFFORT, 1))

    steps = {"tsp": 12, "op": None, "kp": 6}[problem]  # more than the size's own, as many, fewer

    def train(folder: Path, log: Any = nothing) -> dict[str, Any]:
        bq_training.train(problem, sets, seed=1, steps=steps, folder=folder, home=tmp_path, log=log)
        return load_checkpoint(folder, {"agent": "bq-nco", "version": 1, "problem": problem}, {"model": BqNet(problem, TINY).shapes()}).parts["model"]

    def stop(line: dict[str, float]) -> None:
        if line.get("step") == (8 if problem == "tsp" else 4):
            raise KeyboardInterrupt

    whole_run = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "halves", stop)
    halves = train(tmp_path / "halves")
    assert all(torch.equal(whole_run[name], halves[name]) for name in whole_run)
    first, second = ((tmp_path / name / "training.jsonl").read_text().splitlines() for name in ("whole", "halves"))
    timeless = [[{**json.loads(line), "seconds": 0} for line in lines] for lines in (first, second)]
    assert timeless[0] == timeless[1] and len(first) == 2
    again = train(tmp_path / "halves")  # there is nothing left to do
    assert all(torch.equal(again[name], halves[name]) for name in again)
    with pytest.raises(ArenaError, match="another training run"):
        bq_training.train(problem, sets, seed=2, steps=None, folder=tmp_path / "whole", home=tmp_path, log=nothing)
    with pytest.raises(ArenaError, match="names no labels"):
        bq_training.train(problem, ["cvrp20"], seed=1, steps=None, folder=tmp_path / "other", home=tmp_path, log=nothing)


def test_a_longer_run_on_labels_of_a_number_of_its_own(tmp_path: Path) -> None:
    lines: list[dict[str, float]] = []
    bq_training.train("tsp", ["tsp20"], seed=1, steps=18, folder=tmp_path / "long", home=tmp_path, log=lines.append, count=40)
    assert [line["step"] for line in lines if "step" in line] == [12, 18]  # three times as far apart as in a run of 8
    assert json.loads((tmp_path / "long" / "config.json").read_text())["run"]["labels"] == 40
    with pytest.raises(ArenaError, match="16 of them are kept apart"):
        bq_training.train("tsp", ["tsp20"], seed=1, steps=4, folder=tmp_path / "few", home=tmp_path, log=nothing, count=16)


def test_sixty_four_instances_are_learned_by_heart() -> None:
    arrays = stream("tsp", 8, 0, 64)
    stored = {"coords": np.round(arrays["coords"] * 65535).astype(np.uint16), **solve("tsp", arrays, 10)}
    torch.manual_seed(0)
    learner, labels = Learner("tsp", TINY, torch.device("cpu"), 5e-3), Labels("tsp", stored, torch.device("cpu"))
    batch = labels.batch(64, np.random.default_rng(0), 1)
    found = [float(learner.learn(batch, step, rate_at(step, 300, 5e-3))) for step in range(300)]
    assert found[0] > 1.5 and found[-1] < 0.05


@pytest.mark.parametrize("problem", ["tsp", "op"])
def test_self_labelling_goes_on_and_does_not_get_worse(problem: str, tmp_path: Path) -> None:
    n = {"tsp": 8, "op": 20}[problem]

    def train(folder: Path, log: Any = nothing) -> BqNet:
        bq_selflabel.train(problem, n, None, seed=0, rounds=None, folder=folder, log=log)
        return load_net(folder, problem)

    def stop(line: dict[str, float]) -> None:
        raise KeyboardInterrupt

    whole_run = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "halves", stop)
    halves = train(tmp_path / "halves")
    assert all(torch.equal(a, b) for a, b in zip(whole_run.state_dict().values(), halves.state_dict().values(), strict=True))
    train(tmp_path / "halves")  # there is nothing left to do
    lines = [json.loads(line) for line in (tmp_path / "whole" / "training.jsonl").read_text().splitlines()]
    assert len(lines) == 2 and lines[1]["solver"] == min(lines[0]["solver"], lines[0]["cost"])


def test_samples_are_drawn_without_replacement_and_by_their_chance() -> None:
    """First of a stochastic beam: a plain sample (Kool et al., 2019, section 4.1)."""
    torch.manual_seed(0)
    net = BqNet("tsp", TINY).eval().requires_grad_(False)
    net.head.weight.data.mul_(6)
    seen = given("tsp", instances(coords=np.repeat(stream("tsp", 4, 0, 1)["coords"], 4000, 0)))
    every = beam(net, seen[:1], whole(seen[:1]), 250, 6, torch.Generator().manual_seed(0))
    chance = {tuple(order): float(score.exp()) for order, score in zip(every.order.tolist(), every.score, strict=True)}
    drawn = beam(net, seen, whole(seen), 250, 3, torch.Generator().manual_seed(1))
    orders = drawn.order.view(4000, 3, 3).tolist()
    assert all(len({tuple(order) for order in row}) == 3 for row in orders)
    counts = {order: np.mean([tuple(row[0]) == order for row in orders]) for order in chance}
    assert max(chance.values()) - min(chance.values()) > 0.05
    assert all(abs(counts[order] - chance[order]) < 0.03 for order in chance)


def test_validation_gap_is_the_gap() -> None:
    arrays = stream("tsp", 8, 0, 20)
    solved = solve("tsp", arrays, 10)
    stored = {"coords": np.round(arrays["coords"] * 65535).astype(np.uint16), **solved}
    net = BqNet("tsp", TINY).eval().requires_grad_(False)
    seen = given("tsp", instances(**arrays))
    cost = worth(seen, greedy(net, seen, whole(seen), 250))
    best = np.array([held_karp(distances(points))[0] for points in arrays["coords"]])
    assert Validation("tsp", stored, torch.device("cpu")).gap(net) == pytest.approx(float(100 * (cost.numpy() / best - 1).mean()), abs=1e-4)


def test_rate_rises_and_falls() -> None:
    rates = [rate_at(step, 1000, 1.0) for step in range(1000)]
    assert max(rates) == 1.0 and rates.index(1.0) in (49, 50) and rates[0] < 0.05 and 0.009 < rates[-1] < 0.02


# ---- the agent ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tsp20", "cvrp20", "op20", "kp50"])
def test_agent_plays_its_tasks(name: str) -> None:
    task = registry.task(f"combinatorial/{name}-tiny-v1")
    agent = BqNco(decode="beam", beam=2)
    agent.check(task.view)
    found = rollout(task.domain, task.scenarios, players(task.domain, {"planner": agent}), task=task.view, ids=torch.arange(task.n), seed=0)
    assert not found.failures and (found.metrics["feasible"] == 1).all()
    assert found.metrics["gap"].mean() < task.vectors["ref0"].mean()


def test_wrong_use_is_told(tmp_path: Path) -> None:
    view = registry.task("combinatorial/tsp20-tiny-v1").view
    for parameters in ({"k": 1}, {"beam": 0}, {"augment": 9}, {"search": -1}):
        with pytest.raises(ArenaError, match="k is at least 2"):
            BqNco(**parameters)  # type: ignore[arg-type]
    with pytest.raises(ArenaError, match="tsp, cvrp, op, kp"):
        BqNco().check(registry.task("combinatorial/atsp20-tiny-v1").view)
    Learner("cvrp", TINY, torch.device("cpu"), 1e-3).save(tmp_path, {"run": {}}, True, [])
    with pytest.raises(ArenaError, match="problem"):
        BqNco(checkpoint=str(tmp_path)).check(view)
    with pytest.raises(ArenaError, match="no checkpoint"):
        BqNco(checkpoint=str(tmp_path / "none")).check(view)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "shape": {**config["shape"], "relative": False}}))
    with pytest.raises(ArenaError, match="another network"):
        load_net(tmp_path, "cvrp")
    (tmp_path / "config.json").write_text(json.dumps({**config, "shape": {"width": 3}}))
    with pytest.raises(ArenaError, match="expected layers, d"):
        load_net(tmp_path, "cvrp")
