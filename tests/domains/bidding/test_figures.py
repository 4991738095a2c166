"""Figures show what happened: their traces against numbers derived apart from them."""

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from arena import registry
from arena.errors import ArenaError
from arena.record import batch
from arena.rollout import players, rollout
from arena.task import Task
from domains.bidding.bench import plain_table
from domains.bidding.figures import draw, draw_task, value_heatmap
from domains.bidding.figures_episode import atoms, trace, win_scale
from domains.bidding.figures_style import GREY, look, thinned
from domains.bidding.figures_task import budget_levels, paired_interval


@pytest.fixture(scope="module")
def task() -> Task:
    return registry.task("bidding/tiny-v1")


def play(task: Task, name: str, rows: slice) -> tuple[dict[str, np.ndarray], np.ndarray]:
    ids = torch.arange(task.n)[rows]
    episode = rollout(
        task.domain, batch(task.scenarios, rows), players(task.domain, {"bidder": registry.candidate(name).make()}), task=task.view, ids=ids
    )
    assert not episode.failures
    return episode.metrics, episode.actions["bidder"]


@pytest.fixture(scope="module")
def agents(task: Task) -> dict[str, dict[str, np.ndarray]]:
    return {name: play(task, name, slice(0, task.n))[0] for name in ("lin", "const", "resolve")}


def curve(figure: go.Figure, name: str, key: str = "y") -> np.ndarray:
    found = [trace for trace in figure.data if trace.name.startswith(name)]
    assert len(found) == 1, [trace.name for trace in figure.data]
    return np.asarray(found[0][key])


def by_hand(task: Task, index: int, bids: np.ndarray) -> dict[str, np.ndarray]:
    """The episode in plain Python: bid cut to the budget, ties win, the market price (or the bid) is paid."""
    row = task.scenarios[[index]]
    left, won, paid = int(row.budget), [], []
    for price, bid in zip(row.price[0].tolist(), bids.tolist(), strict=True):
        offer = min(bid, left)
        won.append(offer >= price)
        paid.append((offer if task.domain.payment == "first" else price) * won[-1])
        left -= paid[-1]
    return {"won": np.array(won), "paid": np.array(paid), "theta": row.theta[0].numpy(), "price": row.price[0].numpy(), "budget": int(row.budget)}


def test_every_figure_names_its_axes_and_has_a_description(task, agents):
    figures = {**draw(task, 2, {"bidder": play(task, "lin", slice(2, 3))[1][:, 0]}), **draw_task(task, agents)}
    assert set(figures) == {"pacing", "bids", "frontier", "prices", "value", "panels", "early_stop", "differences"}
    for name, figure in figures.items():
        assert figure.layout.meta["alt"], name
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0, 0, 0, 0)"
        axes = [axis for axis in figure.to_dict()["layout"] if axis.startswith(("xaxis", "yaxis"))]
        assert any(figure.layout[axis].title.text for axis in axes if axis.startswith("x")), name
        assert any(figure.layout[axis].title.text for axis in axes if axis.startswith("y")), name
        assert "NaN" not in figure.to_json()


def test_pacing_is_money_over_time(task):
    bids = play(task, "lin", slice(9, 10))[1][:, 0]
    expected = by_hand(task, 9, bids)
    figure = draw(task, 9, {"bidder": bids})["pacing"]
    assert expected["paid"].sum() > 0
    np.testing.assert_allclose(curve(figure, "spent"), expected["paid"].cumsum() / expected["budget"])
    np.testing.assert_allclose(curve(figure, "spent", "x"), np.arange(100) / 5)
    np.testing.assert_allclose(curve(figure, "share of the traffic"), np.linspace(0, 1, 21))  # equal slots: the even line
    ratio = bids / (expected["theta"] / task.domain.histories[1].ctr)
    np.testing.assert_allclose(curve(figure, "coefficient")[:-1], np.median(ratio.reshape(20, 5), axis=1))


def test_bids_tell_won_from_lost(task):
    bids = play(task, "lin", slice(0, 1))[1][:, 0]
    expected = by_hand(task, 0, bids)
    figure = draw(task, 0, {"bidder": bids})["bids"]
    assert 0 < expected["won"].sum() < 100
    np.testing.assert_array_equal(curve(figure, "market price, won"), expected["price"][expected["won"]])
    np.testing.assert_array_equal(curve(figure, "market price, lost"), expected["price"][~expected["won"]])
    np.testing.assert_array_equal(curve(figure, "bid"), bids)
    np.testing.assert_allclose(curve(figure, "bid", "x"), expected["theta"] / task.domain.histories[0].ctr)
    assert len({trace.marker.symbol for trace in figure.data}) == 3  # not colour alone


def test_frontier_holds_the_bound_and_the_bidder(task):
    metrics, actions = play(task, "resolve", slice(4, 5))
    expected = by_hand(task, 4, actions[:, 0])
    figure = draw(task, 4, {"bidder": actions[:, 0]})["frontier"]
    (x,), (y,) = curve(figure, "this bidder", "x"), curve(figure, "this bidder")
    assert (x, y) == (expected["paid"].sum(), pytest.approx(metrics["value"][0]))
    assert f"{metrics['ratio'][0]:.1%} of the bound" in figure.data[-1].name
    cost, value = curve(figure, "greedy", "x"), curve(figure, "greedy")
    best = sorted(zip(expected["theta"], expected["price"], strict=True), key=lambda pair: -pair[0] / max(pair[1], 1e-9))
    np.testing.assert_allclose(value[: len(cost)], np.r_[0, np.cumsum([theta for theta, _ in best])][: len(cost)])
    assert (np.diff(cost) >= 0).all() and np.interp(x, cost, value) >= y - 1e-12


def test_prices_show_the_history_and_its_atoms(task):
    bids = play(task, "lin", slice(0, 1))[1][:, 0]
    figure = draw(task, 0, {"bidder": bids})["prices"]
    counts = task.domain.histories[0].price_counts
    assert set(curve(figure, "atom", "x")) == {20, 50, 70, 80}  # the floor prices the profile was measured with
    shown = np.zeros(301)
    shown[curve(figure, "atom", "x")], shown[curve(figure, "price", "x")] = curve(figure, "atom"), curve(figure, "price")
    np.testing.assert_allclose(shown, counts / counts.sum())
    np.testing.assert_allclose(curve(figure, "wins at this bid"), np.cumsum(counts) / counts.sum())
    expected = by_hand(task, 0, bids)
    won = np.sort(expected["price"][expected["won"]])
    np.testing.assert_allclose(curve(figure, "won here"), np.searchsorted(won, np.arange(301), side="right") / len(won))


def test_win_curve_is_recovered_and_a_flat_law_has_no_atoms():
    curve_37 = np.arange(301) / (np.arange(301) + 37)
    assert win_scale(np.diff(curve_37, prepend=0)) == 37
    assert not atoms(np.full(301, 1 / 301)).any()


def test_first_price_shows_what_was_paid_above_the_market():
    task = registry.task("bidding/first-price-v1")
    bids = play(task, "ortb", slice(7, 8))[1][:, 0]
    expected = by_hand(task, 7, bids)
    figures = draw(task, 7, {"bidder": bids})
    surplus = (expected["paid"] - expected["price"])[expected["won"]]
    assert surplus.sum() > 0 and f"{surplus.sum():,} above the market" in figures["shading"].data[1].name
    np.testing.assert_array_equal(curve(figures["shading"], "paid") - curve(figures["shading"], "paid", "x"), surplus)


def test_cpa_per_slot_against_the_limit():
    task = registry.task("bidding/cpa-v1")
    index = int(task.scenarios.bound.argmax())
    row = task.scenarios[[index]]
    bids = (row.cost_limit * row.theta[0]).clamp(max=1000).int().numpy()  # bids the limit itself
    expected = by_hand(task, index, bids)
    figure = draw(task, index, {"bidder": bids})["cpa"]
    money, value = expected["paid"].reshape(48, -1).sum(1) / 1000, (expected["theta"] * expected["won"]).reshape(48, -1).sum(1)
    bought = value > 0
    assert bought.any()
    np.testing.assert_allclose(curve(figure, "of the slot")[bought], (money / np.where(bought, value, 1))[bought])
    assert curve(figure, "so far")[-1] == pytest.approx(money.sum() / value.sum())
    assert set(curve(figure, "limit")) == {float(row.cost_limit) / 1000}
    assert len(trace(task, index, {"bidder": bids}).price) == 10_000  # padding is no auction


def test_value_over_the_budget_level_with_the_bound_and_the_stochastic_line(task, agents):
    failed = {**agents["lin"], **{name: np.where(np.arange(16) < 2, np.nan, vector) for name, vector in agents["lin"].items()}}
    figure = draw_task(task, {**agents, "lin": failed})["value"]
    assert list(curve(figure, "clairvoyant bound")) == [1.0]
    if "stochastic" in task.vectors:
        assert curve(figure, "best without foresight")[0] == pytest.approx(task.vectors["stochastic"].mean())
    assert curve(figure, "const")[0] == pytest.approx(agents["const"]["ratio"].mean())
    assert curve(figure, "lin")[0] == pytest.approx(agents["lin"]["ratio"][2:].mean())
    assert any("2 failed" in trace.name for trace in figure.data)


def test_panels_are_ratios_of_sums(task, agents):
    figure = draw_task(task, {"const": agents["const"]})["panels"]
    clicks, rate, cpm, ecpc = (float(trace.y[0]) for trace in figure.data)
    played = [by_hand(task, i, moves) for i, moves in enumerate(play(task, "const", slice(0, 16))[1].T)]
    wins, money = sum(e["won"].sum() for e in played), sum(e["paid"].sum() for e in played)
    realised = sum(int(task.scenarios.click[i].numpy()[e["won"]].sum()) for i, e in enumerate(played))
    assert (clicks, rate, cpm) == (realised, pytest.approx(wins / 1600), pytest.approx(money / wins))
    assert ecpc == pytest.approx(money / 1000 / realised) if realised else np.isnan(ecpc)


def test_differences_are_paired_with_the_leader(task, agents):
    figure = draw_task(task, agents)["differences"]
    leader = max(agents, key=lambda name: agents[name]["ratio"].mean())
    assert figure.layout.annotations[0].text == f"{leader} minus another, per scenario"
    for name in set(agents) - {leader}:
        gap = agents[leader]["ratio"] - agents[name]["ratio"]
        line, point = (trace for trace in figure.data if trace.name == name)
        np.testing.assert_allclose(line.y, np.sort(gap))
        assert point.x[0] == pytest.approx(gap.mean())
        mean, lo, hi = paired_interval(gap, task.digest)
        assert lo <= mean <= hi
        assert (point.x[0] - point.error_x.arrayminus[0], point.x[0] + point.error_x.array[0]) == (pytest.approx(lo), pytest.approx(hi))


def test_early_stop_counts_scenarios(task, agents):
    figure = draw_task(task, agents)["early_stop"]
    for name, metrics in agents.items():
        height = curve(figure, name)[:-1]
        assert height.sum() == pytest.approx(1)
        assert height[0] == pytest.approx((metrics["early_stop"] < 0.05).mean())


def test_budget_levels_are_listed_or_cut_into_classes():
    labels, level = budget_levels(registry.task("bidding/standard-v1"))
    assert labels == ["1/32", "1/16", "1/8", "1/4", "1/2"] and list(np.bincount(level)) == [384] * 5
    labels, level = budget_levels(registry.task("bidding/cpa-v1"))
    assert len(labels) == 4 and list(np.bincount(level)) == [16] * 4


def test_value_heatmap_shows_the_table_and_its_steps():
    pmf = np.array([0.25, 0.25, 0.5])
    table = np.array(plain_table(pmf, 1.0, 2, 4))
    np.testing.assert_allclose(table[2], [0, 0.875, 1.375, 1.75, 2])  # by hand
    values, steps = value_heatmap(table).data
    np.testing.assert_allclose(values.z, table[:, :-1])
    np.testing.assert_allclose(steps.z, np.diff(table, axis=1))
    large = value_heatmap(np.arange(1000.0)[:, None] * np.arange(5000.0))
    assert np.shape(large.data[0].z) == (250, 250)
    np.testing.assert_allclose(large.data[1].z[-1], 999.0)
    with pytest.raises(ArenaError, match="shape"):
        value_heatmap(np.zeros(5))


def test_unfit_input_is_named(task, agents):
    with pytest.raises(ArenaError, match=r"shape \(99,\)"):
        draw(task, 0, {"bidder": np.zeros(99, np.int16)})
    with pytest.raises(ArenaError, match="0..300"):
        draw(task, 0, {"bidder": np.full(100, 301)})
    with pytest.raises(ArenaError, match="0..15"):
        draw(task, 16, {"bidder": np.zeros(100, np.int16)})
    with pytest.raises(ArenaError, match=r"lin: ratio has shape \(3,\)"):
        draw_task(task, {"lin": {**agents["lin"], "ratio": np.zeros(3)}})


def test_agents_differ_in_more_than_colour_and_grey_is_readable_on_both_pages():
    assert len({tuple(look(kind).values()) for kind in range(120)}) == 120
    assert len({(look(kind)["symbol"], look(kind)["dash"]) for kind in range(20)}) == 20

    def luminance(colour: str) -> float:
        part = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        return float(np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])

    for ground in ("#ffffff", "#0e1117"):
        low, high = sorted((luminance(GREY), luminance(ground)))
        assert (high + 0.05) / (low + 0.05) > 3.9
    assert list(thinned(5000)[[0, -1]]) == [0, 4999] and len(thinned(5000)) == 2000 and len(thinned(0)) == 0
