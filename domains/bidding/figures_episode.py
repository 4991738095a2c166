"""One recorded episode, drawn from scenario and recorded bids alone: everything is derived again by the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from arena.errors import ArenaError
from arena.rollout import states
from arena.task import Task
from domains.bidding.figures_style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, line, marks, panels, thinned
from domains.bidding.history import Floats, History, Integers
from domains.bidding.kernel import Auctions, Bidding

ATOM = 0.01  # a price with at least this share, and three times that of its neighbours, is an atom (a floor price)


@dataclass(frozen=True, eq=False)
class Trace:
    """What happened in an episode, auction by auction (T of them, padding left out). Money in CPM units."""

    domain: Bidding
    known: History
    budget: int
    cost_limit: float  # money per unit of value; inf where there is none
    bound: float
    time: Floats  # [T] in slots
    theta: Floats  # [T]
    price: Integers  # [T]
    bid: Integers  # [T] as named, before the budget cut it
    won: NDArray[np.bool_]  # [T]
    paid: Integers  # [T]
    size: Integers  # [S] real auctions of each slot

    @property
    def slot(self) -> Integers:
        """[T] the slot each auction lies in."""
        return np.repeat(np.arange(len(self.size)), self.size)[: len(self.time)]

    def per_slot(self, amount: NDArray[np.generic]) -> Floats:
        """[S] sums of `amount` [T]."""
        return np.bincount(self.slot, weights=amount.astype(np.float64), minlength=len(self.size))


def trace(task: Task, index: int, actions: Mapping[str, NDArray[np.generic]]) -> Trace:
    """Replay scenario `index` of the test set with recorded bids: actions["bidder"] [T], one column of the recording.

    Raises ArenaError `task.index`, `figure.actions`, and `verify.actions` for bids the kernel refuses.
    """
    domain = task.domain
    assert isinstance(domain, Bidding)
    scenario = task.sample("test", [index])
    assert isinstance(scenario, Auctions)
    bid = np.asarray(actions.get("bidder", np.zeros(0)))
    if bid.shape != (domain.horizon,):
        raise ArenaError(
            "figure.actions",
            f"scenario {index} of {task.id}: the recorded bids have shape {bid.shape}",
            f"give actions['bidder'] of one finished episode, shape ({domain.horizon},): one column of the recording",
        )
    budget, won = np.empty(domain.horizon + 1, np.int64), np.empty(domain.horizon, bool)
    for step, state in states(domain, scenario, {"bidder": bid[:, None]}):
        budget[step] = int(state.budget)
        if step:
            won[step - 1] = bool(state.won)
    size = scenario.size[0].numpy().astype(np.int64)
    place = np.arange(domain.horizon)
    real = place % domain.slot < size[place // domain.slot]
    return Trace(
        domain, domain.histories[int(scenario.campaign)], int(scenario.budget), float(scenario.cost_limit), float(scenario.bound),
        (place / domain.slot)[real], scenario.theta[0].numpy()[real], scenario.price[0].numpy().astype(np.int64)[real],
        bid.astype(np.int64)[real], won[real], -np.diff(budget)[real], size,
    )  # fmt: skip


def draw(task: Task, index: int, actions: Mapping[str, NDArray[np.generic]]) -> dict[str, go.Figure]:
    """Figures of one recorded episode by name: `pacing`, `bids`, `frontier`, `prices`; `shading` under first price, `cpa` under a limit."""
    found = trace(task, index, actions)
    figures = {"pacing": pacing(found), "bids": bids(found), "frontier": frontier(found), "prices": prices(found)}
    if found.domain.payment == "first":
        figures["shading"] = shading(found)
    if np.isfinite(found.cost_limit):
        figures["cpa"] = cpa(found)
    return figures


def pacing(episode: Trace) -> go.Figure:
    """Spend so far beside an even line and the share of the traffic; below, the bid per unit of relative value."""
    alt = f"{episode.paid.sum() / episode.budget:.0%} of a budget of {episode.budget} spent over {len(episode.size)} slots"
    titles = ("money spent so far", "bid per unit of value / click rate, median of the slot")
    figure = panels(titles, 2, alt, shared_xaxes=True, vertical_spacing=0.12)
    slots = len(episode.size)
    shown = thinned(len(episode.time))
    ends, share = np.arange(slots + 1), np.r_[0.0, episode.size.cumsum() / episode.size.sum()]
    spent, ratio = episode.paid.cumsum() / episode.budget, coefficients(episode)
    figure.add_trace(line([0, slots], [0, 1], "even spending", GREY, "dash"), 1, 1)
    figure.add_trace(line(ends, share, "share of the traffic", ORANGE, "dot"), 1, 1)
    figure.add_trace(line(episode.time[shown], spent[shown], "spent", BLUE), 1, 1)
    figure.add_trace(line(ends, np.r_[ratio, ratio[-1]], "coefficient", VERMILLION, line_shape="hv", showlegend=False), 2, 1)
    figure.update_xaxes(title="time (slots)", row=2, col=1)
    figure.update_yaxes(title="share of budget", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title="coefficient (CPM units)", type="log", row=2, col=1)
    return figure


def coefficients(episode: Trace) -> Floats:
    """[S] the median over a slot's auctions of any value of bid / (theta / ctr), in CPM units; NaN where there is none."""
    worth = episode.theta > 0
    ratio = episode.bid[worth] / (episode.theta[worth] / _scale(episode))
    slot = episode.slot[worth]
    return np.array([np.median(ratio[slot == s]) if (slot == s).any() else np.nan for s in range(len(episode.size))])


def _scale(episode: Trace) -> float:
    """What values are relative to: the history's click rate, or its mean value where no click was seen."""
    return episode.known.ctr or episode.known.mean_theta


def bids(episode: Trace) -> go.Figure:
    """Market prices of auctions won and lost, and the bids, over the value relative to the click rate."""
    figure = panels(("",), alt=f"{int(episode.won.sum())} of {len(episode.won)} auctions won")
    relative = episode.theta / _scale(episode)
    worth = relative > 0
    groups = (
        ("market price, lost", worth & ~episode.won, episode.price, VERMILLION, "x"),
        ("market price, won", worth & episode.won, episode.price, BLUE, "circle"),
        ("bid", worth, episode.bid, ORANGE, "diamond-open"),
    )
    for name, mask, height, colour, symbol in groups:
        rows = np.flatnonzero(mask)
        shown = rows[thinned(len(rows))]
        count = f"{len(rows)}" if len(shown) == len(rows) else f"{len(shown)} of {len(rows)} shown"
        figure.add_trace(marks(relative[shown], height[shown], f"{name} ({count})", colour, symbol, 5, opacity=0.7))
    figure.update_xaxes(title="value / click rate (log; worthless auctions left out)", type="log", dtick=1)
    figure.update_yaxes(title="price (CPM units)", rangemode="tozero")
    return figure


def shading(episode: Trace) -> go.Figure:
    """First price: what was paid on wins over the market price; above the diagonal lies the money a lower bid would have saved."""
    rows = np.flatnonzero(episode.won)
    shown = rows[thinned(len(rows))]
    surplus = int((episode.paid - episode.price)[rows].sum())
    figure = panels(("",), alt=f"{surplus} CPM units paid above the market price on {len(rows)} wins")
    top = int(max(episode.paid.max(initial=1), 1))
    figure.add_trace(line([0, top], [0, top], "market price", GREY, "dash"))
    figure.add_trace(marks(episode.price[shown], episode.paid[shown], f"paid ({surplus:,} above the market in all)", BLUE, "circle", 5, opacity=0.7))
    figure.update_xaxes(title="market price of auctions won (CPM units)")
    figure.update_yaxes(title="paid (CPM units)")
    return figure


def cpa(episode: Trace) -> go.Figure:
    """Cost per conversion of each slot and so far, against the limit. Currency per expected conversion."""
    cost, value = episode.per_slot(episode.paid) / 1000, episode.per_slot(episode.theta * episode.won)
    with np.errstate(divide="ignore", invalid="ignore"):
        each, running = cost / value, cost.cumsum() / value.cumsum()
    limit, slots = episode.cost_limit / 1000, np.arange(len(cost))
    figure = panels(("",), alt=f"cost per conversion {cost.sum() / max(value.sum(), 1e-300):.3g}, limit {limit:.3g}")
    figure.add_trace(line([0, len(cost) - 1], [limit, limit], "limit", VERMILLION, "dash"))
    figure.add_trace(marks(slots, each, "of the slot", ORANGE, "diamond", 7))
    figure.add_trace(line(slots, running, "so far", BLUE))
    figure.update_xaxes(title="slot")
    figure.update_yaxes(title="cost per conversion (currency)", rangemode="tozero")
    return figure


def frontier(episode: Trace) -> go.Figure:
    """The most value each amount of money could have bought with foresight, the bidder's own point, the budget and the cost limit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(episode.theta > 0, episode.theta / episode.price, 0.0)
    order = np.argsort(-ratio, kind="stable")
    order = order[episode.price[order] <= episode.domain.max_bid]
    cost, value = np.r_[0, episode.price[order].cumsum()], np.r_[0.0, episode.theta[order].cumsum()]
    near = np.searchsorted(cost, 2.5 * episode.budget, side="right")  # what lies far beyond the budget would press the rest together
    shown = thinned(near)
    spent, won = int(episode.paid.sum()), float(episode.theta[episode.won].sum())
    share = f"{won / episode.bound:.1%} of the bound" if episode.bound > 0 else "nothing could be won"
    figure = panels(("",), alt=f"value {won:.4g} for {spent} of {episode.budget}; the bound is {episode.bound:.4g}")
    figure.add_trace(line(cost[shown], value[shown], "greedy frontier (foresight)", GREEN))
    figure.add_trace(line([episode.budget] * 2, [0, value[shown].max()], "budget", GREY, "dash"))
    if np.isfinite(episode.cost_limit):
        reach = min(cost[shown].max(), value[shown].max() * episode.cost_limit)
        figure.add_trace(line([0, reach], [0, reach / episode.cost_limit], "cost limit (allowed above it)", VERMILLION, "dot"))
    reached = int(np.searchsorted(value, episode.bound * (1 - 1e-12)).clip(max=len(cost) - 1))
    figure.add_trace(marks([min(episode.budget, cost[reached])], [episode.bound], "bound", PURPLE, "star", 12))
    figure.add_trace(marks([spent], [won], f"this bidder ({share})", BLUE, "circle", 11))
    figure.update_xaxes(title="money (CPM units)")
    figure.update_yaxes(title="value (expected conversions)" if episode.domain.cpa else "value (expected clicks)")
    return figure


def prices(episode: Trace) -> go.Figure:
    """The history's price law with its atoms, the share of auctions a bid wins, the curve fitted to it, and the prices won here."""
    counts = episode.known.price_counts
    share = counts / counts.sum()
    atom = atoms(share)
    bid = np.arange(len(share))
    scale = win_scale(share)
    won = np.bincount(episode.price[episode.won], minlength=len(share))
    figure = panels(("",), alt=f"{int(atom.sum())} atoms hold {share[atom].sum():.0%} of the prices", specs=[[{"secondary_y": True}]])
    figure.add_trace(go.Bar(x=bid[~atom], y=share[~atom], name="price", marker_color=SKY, marker_line_width=0), secondary_y=False)
    figure.add_trace(go.Bar(
        x=bid[atom], y=share[atom], name="atom (floor price)", marker={"color": VERMILLION, "pattern": {"shape": "/"}}, width=2,
    ), secondary_y=False)  # fmt: skip
    figure.add_trace(line(bid, share.cumsum(), "wins at this bid (history)", BLUE), secondary_y=True)
    figure.add_trace(line(bid, bid / (bid + scale), f"fitted bid / (bid + {scale})", ORANGE, "dash"), secondary_y=True)
    figure.add_trace(line(bid, won.cumsum() / max(won.sum(), 1), "won here, up to this price", GREEN, "dot"), secondary_y=True)
    figure.update_layout(bargap=0, barmode="overlay")
    top = int(np.searchsorted(share.cumsum(), 0.9999)) + 1
    figure.update_xaxes(title="price, bid (CPM units)", range=[-0.5, top])
    figure.update_yaxes(title="share of auctions", secondary_y=False)
    figure.update_yaxes(title="cumulative share", range=[0, 1.02], dtick=0.2, tickmode="linear", showgrid=False, secondary_y=True)
    return figure


def atoms(share: Floats) -> NDArray[np.bool_]:
    """[M+1] which prices stand out: at least 1 % of all and three times the median of the ten around."""
    padded = np.pad(share, 5, mode="edge")
    around = np.median(np.lib.stride_tricks.sliding_window_view(padded, 11), axis=1)
    return (share >= ATOM) & (share >= 3 * around)


def win_scale(share: Floats) -> int:
    """c in 1..M-1 whose curve bid / (bid + c) is nearest in squares to the share of prices at or below each bid."""
    bid, scale = np.arange(len(share)), np.arange(1, len(share) - 1)[:, None]
    return int(((bid / (bid + scale) - share.cumsum()) ** 2).sum(1).argmin()) + 1
