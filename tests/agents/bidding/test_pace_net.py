"""pace-net: what it plays untrained and trained, what its gradient is, how its training goes on after a stop."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.bidding import pace_training
from agents.bidding.classical import Ortb, Resolve
from agents.bidding.pace_belief import Belief, knowledge
from agents.bidding.pace_net import SPEC, PaceModel, PaceNet, features, load_model
from agents.bidding.pace_slot import PlaySlot, Slot, batched, compiled
from agents.bidding.pace_training import Batch, Size, play
from arena import registry
from arena.agent import Agent
from arena.errors import ArenaError
from arena.learning.checkpoints import save_checkpoint
from arena.rollout import Episode, players, rollout
from arena.task import Task
from domains.bidding.kernel import Auctions

torch.set_num_threads(1)


@cache
def task(name: str) -> Task:
    return registry.task(f"bidding/{name}-v1")


@cache
def scenarios(name: str, n: int) -> Auctions:
    return task(name).sample("val", range(n))


def run(name: str, scenario: Auctions, agent: Agent, seed: int = 0) -> Episode:
    rows = torch.arange(len(scenario))
    found = rollout(task(name).domain, scenario, players(task(name).domain, {"bidder": agent}), task=task(name).view, ids=rows, seed=seed)
    assert not found.failures, found.failures[0].detail
    return found


def checkpoint(folder: Path, seed: int, spread: float) -> PaceModel:
    """A model whose last layer is drawn at random, saved; spread 0 leaves it untrained."""
    torch.manual_seed(seed)
    model = PaceModel()
    torch.nn.init.normal_(model.head.weight, std=spread)
    torch.nn.init.normal_(model.head.bias, std=spread)
    save_checkpoint(folder, {"spec": SPEC}, {"model": model.state_dict()})
    return model


def batch_of(name: str, scenario: Auctions) -> Batch:
    shift = torch.full((len(scenario),), bool(task(name).config["shift"]))
    return Batch(
        scenario.theta.T.contiguous(), scenario.price.T.contiguous().long(), scenario.budget.double(), scenario.campaign, scenario.bound, shift
    )


@pytest.mark.parametrize("name", ["standard", "drift", "tiny"])
def test_untrained_it_bids_as_resolve(name: str, tmp_path: Path) -> None:
    checkpoint(tmp_path, 0, 0.0)
    scenario = scenarios(name, 60)
    ours, theirs = (run(name, scenario, agent).actions["bidder"] for agent in (PaceNet(str(tmp_path)), Resolve()))
    # theta * (1 / lambda) and theta / lambda may truncate apart; a bid that differs moves the rest of its episode by a unit of budget
    assert (ours != theirs).mean() < 1e-4 and ours.max() > 0


@pytest.mark.parametrize("name", ["standard", "drift"])
def test_training_plays_the_kernels_auctions(name: str, tmp_path: Path) -> None:
    model = checkpoint(tmp_path, 1, 0.3).double()
    scenario, domain = scenarios(name, 60), task(name).domain
    kernel = run(name, scenario, PaceNet(str(tmp_path))).metrics["ratio"]
    with torch.no_grad():
        ours = play(model.float(), batch_of(name, scenario), knowledge(domain.histories), domain.slot, domain.max_bid).numpy()
    assert np.isclose(ours, kernel, rtol=1e-9).mean() > 0.95  # training computes the lean in float32: now and then a bid differs by 1
    assert abs(ours.mean() - kernel.mean()) < 1e-3


def test_compiled_and_batched_slots_agree() -> None:
    scenario, known = scenarios("standard", 60), knowledge(task("standard").domain.histories)
    generator = torch.Generator().manual_seed(3)
    lean = 0.4 * torch.randn(3, 60, generator=generator, dtype=torch.float64)
    for left, share in ((1000, 1.0), (400, 0.3), (20, 0.02), (20, 0.002)):
        money = (scenario.budget.double() * share).floor()
        slot = Slot(scenario.theta[:, -20:].T.contiguous(), scenario.price[:, -20:].T.contiguous().long(), scenario.campaign, left, 300)
        for ours, theirs in zip(compiled(lean, money, slot, known), batched(lean, money, slot, known), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_gradient_is_the_slope_of_the_value() -> None:
    """Against finite differences of the exact auctions, averaged over many scenarios: how spend answers to g, h and q in one slot."""
    scenario, known = task("standard").sample("train", range(3000)), knowledge(task("standard").domain.histories)
    slot = Slot(scenario.theta[:, :20].T.contiguous(), scenario.price[:, :20].T.contiguous().long(), scenario.campaign, 1000, 300)
    money = scenario.budget.double()
    lean = torch.zeros(3, len(scenario), dtype=torch.float64, requires_grad=True)
    left, *_ = PlaySlot.apply(lean, money, slot, known)
    (money - left).sum().backward()
    assert lean.grad is not None
    for which, step in enumerate((0.2, 0.2, 0.4)):
        spends = []
        for sign in (-1, 1):
            moved = torch.zeros_like(lean.detach())
            moved[which] = sign * step
            spends.append(float((money - compiled(moved, money, slot, known)[0]).sum()))
        assert float(lean.grad[which].sum()) == pytest.approx((spends[1] - spends[0]) / (2 * step), rel=0.1)


def test_belief_finds_the_shifted_law() -> None:
    """Values up by 1.4 and prices down by 0.8 from auction 500 on: the belief moves there, with and without the prior of a change."""
    name, known = "standard", knowledge(task("standard").domain.histories)
    scenario = scenarios(name, 180)
    theta, price = scenario.theta.T.clone(), scenario.price.T.clone().long()
    plain = theta.clone(), price.clone()
    theta[500:] *= 1.4
    price[500:] = (0.8 * price[500:]).round().long()
    found = []
    for values, prices in ((theta, price), plain):
        belief = Belief(known, scenario.campaign, 50, torch.ones(180, dtype=torch.bool))
        for start in range(0, 800, 20):
            here = slice(start, start + 20)
            bids = torch.full((20, 180), 80)
            belief.learn(values[here], bids, torch.where(prices[here] <= 80, prices[here], -1))
        found.append(belief.now())
    moved = (found[0] - found[1]).mean(1)
    assert float(moved[0]) == pytest.approx(np.log(1.4), abs=0.08)
    assert float(moved[1]) == pytest.approx(np.log(0.8), abs=0.08)
    assert float(found[0][6].mean()) > float(found[1][6].mean()) + 0.1


@pytest.mark.parametrize("name", ["standard", "drift"])
def test_future_does_not_reach_the_bids(name: str) -> None:
    """With every auction from t on altered, the bids up to and including t - 1 are the same; bid t sees the altered value."""
    scenario, t = scenarios(name, 30), 413
    theta, price = scenario.theta.T.clone(), scenario.price.T.clone()
    theta[t:] = theta[t:].flip(0) * 0.5
    price[t:] = 300 - price[t:]
    poisoned = replace(scenario, theta=theta.T, price=price.T)
    first, second = (run(name, s, PaceNet()).actions["bidder"] for s in (scenario, poisoned))
    assert np.array_equal(first[:t], second[:t])
    assert not np.array_equal(first[t:], second[t:])


def test_bids_do_not_depend_on_who_else_is_in_the_batch() -> None:
    scenario = scenarios("standard", 60)
    whole, part = run("standard", scenario, PaceNet()).actions["bidder"], run("standard", scenario[:20], PaceNet()).actions["bidder"]
    assert (whole[:, :20] == part).mean() > 0.9999  # sums of another order may turn a bid by 1


@pytest.mark.parametrize(("name", "lead"), [("standard", 0.003), ("drift", 0.012)])
def test_shipped_weights_beat_resolve_on_validation(name: str, lead: float) -> None:
    scenario = scenarios(name, 240)
    gain = run(name, scenario, PaceNet()).metrics["ratio"] - run(name, scenario, Resolve()).metrics["ratio"]
    assert gain.mean() > lead


def test_run_seed_chooses_the_checkpoint(tmp_path: Path) -> None:
    models = [checkpoint(tmp_path / f"seed-{seed}", seed, 0.3) for seed in range(3)]
    for seed in range(5):
        assert torch.equal(load_model(tmp_path, seed).head.weight.float(), models[seed % 3].head.weight)
    with pytest.raises(ArenaError, match="no checkpoint"):
        load_model(tmp_path / "nowhere", 0)


class Stop(Exception):
    pass


def test_training_goes_on_bit_for_bit_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pace_training.SIZES, "cpu", Size(pool=32, batch=16, updates=6, every=2))
    view, quiet = task("tiny").view, lambda line: None
    PaceNet().train(view, seed=5, folder=tmp_path / "whole", log=quiet)

    def stop(line: dict[str, float]) -> None:
        if line["update"] == 5:  # the last checkpoint is that of update 4
            raise Stop

    with pytest.raises(Stop):
        PaceNet().train(view, seed=5, budget=6, folder=tmp_path / "stopped", log=stop)
    again: list[float] = []
    PaceNet().train(view, seed=5, budget=6, folder=tmp_path / "stopped", log=lambda line: again.append(line["update"]))
    assert again == [5, 6]
    whole, stopped = (load_model(tmp_path / name, 0).state_dict() for name in ("whole", "stopped"))
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    assert float(whole["head.weight"].abs().max()) > 0
    assert len((tmp_path / "stopped" / "training.jsonl").read_text().splitlines()) == 6
    PaceNet().train(view, seed=5, budget=6, folder=tmp_path / "stopped", log=lambda line: pytest.fail("it was finished"))
    with pytest.raises(ArenaError, match="seed 5 instead of 6"):
        PaceNet().train(view, seed=6, budget=6, folder=tmp_path / "stopped", log=quiet)


def test_training_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(ArenaError, match="does not learn on bidding/first-price-v1"):
        PaceNet().train(task("first-price").view, seed=0, budget=1, folder=tmp_path, log=lambda line: None)
    if not torch.cuda.is_available():
        with pytest.raises(ArenaError, match="CUDA"):
            PaceNet(size="full").train(task("tiny").view, seed=0, budget=1, folder=tmp_path, log=lambda line: None)


def test_features_are_of_order_one() -> None:
    scenario, domain = scenarios("standard", 60), task("standard").domain
    known = knowledge(domain.histories)
    belief = Belief(known, scenario.campaign, domain.slots, torch.zeros(60, dtype=torch.bool))
    for left, share in ((1000, 1.0), (20, 1.0), (20, 0.0)):
        found = features(known, belief, scenario.budget * share, scenario.budget.double(), left, 1000, 300)
        assert torch.isfinite(found).all() and found.abs().max() < 8


def test_first_price_bids_are_shaded() -> None:
    """Against ORTB, the textbook's answer to first price, on validation."""
    scenario = scenarios("first-price", 60)
    gain = run("first-price", scenario, PaceNet()).metrics["ratio"] - run("first-price", scenario, Ortb()).metrics["ratio"]
    assert gain.mean() > 0.05


def test_refuses_before_a_run_what_it_cannot_play(tmp_path: Path) -> None:
    with pytest.raises(ArenaError, match="not the cost limit of bidding/cpa-v1"):
        PaceNet().check(task("cpa").view)
    with pytest.raises(ArenaError, match="no checkpoint"):
        PaceNet(str(tmp_path)).check(task("tiny").view)
    PaceNet().check(task("tiny").view)
