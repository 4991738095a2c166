"""The transition against an independent reading of its rules, one auction at a time in plain Python."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from domains.bidding.history import History
from domains.bidding.kernel import Bidding
from domains.bidding.scenarios import auctions

TOP = 12  # highest bid; few prices make ties and empty budgets frequent
KINDS = [(payment, cpa, padded) for payment in ("second", "first") for cpa, padded in ((False, False), (True, False), (True, True))]


def known():
    rng = np.random.default_rng(5)
    price = rng.integers(0, TOP + 1, 60)
    return History("toy", 60, int(price.sum()), 3, np.bincount(price, minlength=TOP + 1), rng.random(60) / 10, price, 20, TOP)


HISTORY = known()


def world(payment, cpa, padded, n=11, slot=4, feedback="win_only"):
    return Bidding([HISTORY], n, slot, payment, feedback, TOP, cpa=cpa, padded=padded)


def drawn(domain, rows, seed):
    """Random scenarios [rows]: prices 0..M, some of value 0; padding at the end of slots where the domain pads."""
    rng = np.random.default_rng(seed)
    n, slots = domain.horizon, domain.slots
    theta, price = rng.random((rows, n)).round(2), rng.integers(0, TOP + 1, (rows, n))
    theta[rng.random((rows, n)) < 0.1] = 0.0
    click = rng.integers(0, 2, (rows, n)).astype(np.uint8)
    width = np.minimum(domain.slot, n - domain.slot * np.arange(slots))
    size = np.broadcast_to(width, (rows, slots))
    if domain.padded:
        size = rng.integers(1, width + 1, (rows, slots))
        inside = np.concatenate([np.arange(w) < size[:, [k]] for k, w in enumerate(width)], 1)
        theta, price, click = np.where(inside, theta, 0.0), np.where(inside, price, TOP + 1), click * inside
    limit = {"cost_limit": rng.uniform(1.0, 20.0, rows)} if domain.cpa else {}
    return auctions(
        theta, price, click, np.full(rows, 0.5), np.zeros(rows, np.int64), domain.histories, domain.slot,
        budget=rng.integers(1, 60, rows), size=size, **limit,
    )  # fmt: skip


def by_hand(scenario, row, bids, payment):
    """One campaign: what is left, paid, won and clicked, auction by auction (the rules of the module docstring, in integers)."""
    budget, value, clicks, wins, log = int(scenario.budget[row]), 0.0, 0, 0, []
    for i, bid in enumerate(bids):
        price = int(scenario.price[row, i])
        offer = min(int(bid), budget)
        won = offer >= price
        paid = (offer if payment == "first" else price) if won else 0
        budget -= paid
        if won:
            value, clicks, wins = value + float(scenario.theta[row, i]), clicks + int(scenario.click[row, i]), wins + 1
        log.append((budget, paid, won))
    return budget, value, clicks, wins, log


def played(domain, scenario, bids):
    """All states and outcomes of a table of bids [B, n]."""
    state, steps = domain.reset(scenario), []
    for t in range(domain.horizon):
        state, outcome = domain.step(scenario, state, bids[:, t])
        steps.append((state, outcome))
    return steps


@pytest.mark.parametrize(("payment", "cpa", "padded"), KINDS)
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), high=st.sampled_from([1, 5, TOP]))
def test_every_auction_by_hand(payment, cpa, padded, seed, high):
    domain = world(payment, cpa, padded)
    scenario = drawn(domain, 4, seed)
    bids = torch.from_numpy(np.random.default_rng(seed + 1).integers(0, high + 1, (4, 11)))
    steps = played(domain, scenario, bids)
    metrics = domain.metrics(scenario, steps[-1][0])
    for row in range(4):
        budget, value, clicks, wins, log = by_hand(scenario, row, bids[row], payment)
        assert [(int(s.budget[row]), int(s.paid[row]), bool(s.won[row])) for s, _ in steps] == log
        reward = torch.stack([o.reward[row] for _, o in steps])
        spent = int(scenario.budget[row]) - budget
        assert float(metrics["value"][row]) == pytest.approx(value, abs=1e-12) and metrics["clicks"][row] == clicks
        assert reward[:, 2].sum() == -spent and reward[:, 3].sum() == wins
        assert metrics["spend_ratio"][row] == spent / int(scenario.budget[row])
        real = int(scenario.size[row].sum())
        assert metrics["win_rate"][row] == wins / real and metrics["cpm"][row] == (spent / wins if wins else 0)
        assert metrics["ecpc"][row] == spent / 1000 / max(clicks, 1)
        assert metrics["early_stop"][row] == sum(left < int(scenario.low[row]) for left, _, _ in log) / 11
        per_slot = np.array([sum(paid for _, paid, _ in log[k : k + 4]) for k in (0, 4, 8)])
        share = scenario.size[row].numpy() / real
        assert float(metrics["pacing_rmse"][row]) == pytest.approx(np.sqrt(np.mean((per_slot / int(scenario.budget[row]) - share) ** 2)), abs=1e-12)
        if payment == "first":
            over = sum(min(int(b), left + paid) - int(p) for b, p, (left, paid, won) in zip(bids[row], scenario.price[row], log, strict=True) if won)
            assert metrics["surplus"][row] == over
        if cpa:
            found = spent / (value + 1e-10)
            assert float(metrics["cpa"][row]) == pytest.approx(found / 1000)
            assert float(metrics["cpa_excess"][row]) == pytest.approx(max(0.0, found / float(scenario.cost_limit[row]) - 1))
    assert all(bool(o.terminated.all()) == (t == 10) for t, (_, o) in enumerate(steps))


@pytest.mark.parametrize(("payment", "cpa", "padded"), KINDS)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_batch_is_its_rows_one_by_one(payment, cpa, padded, seed):
    domain = world(payment, cpa, padded)
    scenario = drawn(domain, 5, seed)
    bids = torch.from_numpy(np.random.default_rng(seed).integers(0, TOP + 1, (5, 11)))
    slot_mode = domain.roles[0].modes[1]
    together = played(domain, scenario, bids)
    for row in range(5):
        alone = played(domain, scenario[row : row + 1], bids[row : row + 1])
        for (big, out), (small, one) in zip(together, alone, strict=True):
            assert all(torch.equal(a[row : row + 1], b) for a, b in zip(big.tensors().values(), small.tensors().values(), strict=True))
            assert torch.equal(out.reward[row : row + 1], one.reward)
            views = ((domain.observe(scenario, big), domain.observe(scenario[row : row + 1], small)),)
            if big.t % 4 == 0:
                views += ((slot_mode.observe(scenario, big), slot_mode.observe(scenario[row : row + 1], small)),)
            for a, b in views:
                assert all(torch.equal(a[name][row : row + 1], b[name]) for name in a)


@pytest.mark.parametrize(("payment", "cpa", "padded"), KINDS)
def test_money_is_conserved(payment, cpa, padded):
    domain = world(payment, cpa, padded)
    for seed in range(8):
        scenario = drawn(domain, 32, seed)
        bids = torch.from_numpy(np.random.default_rng(seed).integers(0, TOP + 1, (32, 11)))
        spent = torch.zeros(32, dtype=torch.int64)
        for state, outcome in played(domain, scenario, bids):
            spent += state.paid
            assert bool((state.budget >= 0).all()) and torch.equal(spent, scenario.budget - state.budget)
            assert torch.equal(state.totals[:, 2], -spent.double()) and torch.equal(outcome.reward[:, 2], -state.paid.double())
            assert bool((state.won | (state.paid == 0)).all())


@pytest.mark.parametrize(("payment", "cpa", "padded"), KINDS)
def test_step_changes_none_of_its_inputs(payment, cpa, padded):
    domain = world(payment, cpa, padded)
    scenario = drawn(domain, 6, 1)
    state, bid = domain.reset(scenario), torch.full((6,), 7)
    for _ in range(11):
        before = {k: v.clone() for k, v in (scenario.tensors("s") | state.tensors("c")).items()}
        after, _ = domain.step(scenario, state, bid)
        domain.observe(scenario, state), domain.metrics(scenario, state)
        assert all(torch.equal(before[k], v) for k, v in (scenario.tensors("s") | state.tensors("c")).items()) and bool((bid == 7).all())
        state = after


@pytest.mark.parametrize("feedback", ["win_only", "full"])
@pytest.mark.parametrize(("payment", "cpa", "padded"), KINDS)
def test_nothing_of_the_future_is_seen(payment, cpa, padded, feedback):
    """Change all that comes after auction t: no observation up to t moves, in either mode; the outcome of t's own price is not seen at t."""
    domain = world(payment, cpa, padded, feedback=feedback)
    scenario, other = drawn(domain, 16, 2), drawn(domain, 16, 3)
    slot_mode = domain.roles[0].modes[1]
    bids = torch.from_numpy(np.random.default_rng(4).integers(0, TOP + 1, (16, 11)))
    for t in range(11):
        later = torch.arange(11) > t
        from_now = torch.arange(11) >= t
        altered = dataclasses.replace(
            scenario,
            theta=torch.where(later, other.theta, scenario.theta),
            price=torch.where(from_now, other.price, scenario.price),
            click=torch.where(from_now, other.click, scenario.click),
            bound=scenario.bound * 2,
        )
        state, twin = domain.reset(scenario), domain.reset(altered)
        for step in range(t + 1):
            seen, twin_seen = domain.observe(scenario, state), domain.observe(altered, twin)
            assert all(torch.equal(seen[name], twin_seen[name]) for name in seen), f"impression {step} sees beyond {t}"
            if step % 4 == 0:
                assert torch.equal(slot_mode.observe(scenario, state)["features"], slot_mode.observe(altered, twin)["features"]), f"slot at {step}"
            state, twin = domain.step(scenario, state, bids[:, step])[0], domain.step(altered, twin, bids[:, step])[0]


def test_win_only_feedback_hides_the_price_of_a_lost_auction():
    for feedback in ("win_only", "full"):
        domain = world("second", False, False, feedback=feedback)
        scenario = drawn(domain, 64, 6)
        state, _ = domain.step(scenario, domain.reset(scenario), torch.full((64,), 6))
        seen = domain.observe(scenario, state)["price"]
        won = state.won.bool()
        lost = ~won
        assert bool(lost.any()) and bool(won.any())
        assert torch.equal(seen[won], scenario.price[won, 0].long())
        assert torch.equal(seen[lost], torch.full_like(seen[lost], -1) if feedback == "win_only" else scenario.price[lost, 0].long())


def test_a_slot_action_is_a_bid_per_value():
    domain = world("second", False, False)
    scenario = drawn(domain, 8, 7)
    x = torch.linspace(-4, 4, 8)
    bid = domain.roles[0].modes[1].expand(scenario, domain.reset(scenario), x)
    wanted = (x.double().exp() * domain.base[0] * scenario.theta[:, 0]).clamp(max=TOP).floor()
    assert bid.dtype == torch.int32 and torch.equal(bid.double(), wanted)


@pytest.mark.parametrize(
    ("bid", "message"),
    [
        (torch.tensor([1, 2, TOP + 1]), r"bid\[2\] = 13 lies outside the legal range 0..12"),
        (torch.tensor([1, -2, 3]), r"bid\[1\] = -2 lies outside"),
        (torch.tensor([1.0, 2.0, 3.0]), "dtype torch.float32; bids are integers"),
        (torch.tensor([True, False, True]), "dtype torch.bool"),
        (torch.tensor([[1], [2], [3]]), r"bid must have shape \(3,\) \(one per scenario\), got \(3, 1\)"),
    ],
)
def test_what_is_no_bid_is_refused(bid, message):
    domain = world("second", False, False)
    scenario = drawn(domain, 3, 0)
    with pytest.raises(ValueError, match=message):
        domain.step(scenario, domain.reset(scenario), bid)
