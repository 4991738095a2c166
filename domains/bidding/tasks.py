"""The bidding tasks: what is drawn, what is replayed, what it is measured against."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from arena.errors import ArenaError
from arena.making import validated
from arena.settings import data_root
from arena.task import Task
from domains.bidding import CAMPAIGNS, DOMAIN
from domains.bidding.files import cut_episodes, find_folder, load_campaign
from domains.bidding.kernel import Auctions, Bidding
from domains.bidding.references import cpa_references, references
from domains.bidding.scenarios import Generated, market_domain, market_draw, replay

FROZEN = Path(__file__).parent / "frozen"
LEVELS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
SIX = ("1458", "2261", "2821", "2997", "3427", "3476")
THREE = ("1458", "2821", "2997")
GRIDS = {
    "tiny-v1": Generated(("1458", "2997"), (1 / 8,), 8, 100, 5, exact=True),
    "standard-v1": Generated(SIX, LEVELS, 64, 1000, 20),
    "drift-v1": Generated(SIX, (1 / 32, 1 / 8), 64, 1000, 20, shift=True),
    "first-price-v1": Generated(THREE, LEVELS, 64, 1000, 20),
    "large-v1": Generated(THREE, LEVELS, 8, 100_000, 2000),
}


def load(name: str, **parameters: Any) -> Task:
    """The task called `name`. Raises ArenaError `data.missing` where it wants files that are not there."""
    if name in GRIDS:
        return _generated(name, GRIDS[name], "first" if name == "first-price-v1" else "second", **parameters)
    if name == "cpa-v1":
        return _cpa(**parameters)
    if name == "real-1458-v1":
        return _rtbcontrol(**parameters)
    replayed = partial(_ipinyou, name.removeprefix("ipinyou-").removesuffix("-v1"))
    return replayed(**validated(replayed, parameters, f"bidding/{name}", "task.parameters"))


def _spec(name: str) -> dict[str, Any]:
    spec = next(task for task in DOMAIN.tasks if task.name == name)
    return {"id": f"bidding/{name}", "tier": spec.tier, "summary": spec.summary, "frozen": FROZEN / name}


def _generated(name: str, grid: Generated, payment: Literal["first", "second"]) -> Task:
    histories = grid.histories()
    domain = Bidding(histories, grid.n, grid.slot, payment)
    domain.sampler = lambda seeds: grid.draw(seeds, np.array([seed % grid.cells for seed in seeds]), histories)

    def draw(split: str, indices: Sequence[int], seeds: Sequence[int]) -> Auctions:
        return grid.draw(seeds, grid.cell_of(split, indices), histories)

    of_campaign = len(grid.levels) * grid.episodes
    return Task(
        **_spec(name),
        domain=domain,
        n=grid.cells * grid.episodes,
        config={
            "profiles": list(grid.profiles), "c0": list(grid.levels), "episodes": grid.episodes, "n": grid.n, "slot": grid.slot,
            "drift": grid.drift, "shift": grid.shift, "payment": payment, "feedback": domain.feedback, "max_bid": domain.max_bid,
            "histories": [h.digest for h in histories],
        },
        draw=draw,
        references=references,
        normalise="task",
        groups=tuple(f"{profile}, c0 {_fraction(level)}" for profile in grid.profiles for level in grid.levels),
        blocks=tuple(range(0, grid.cells * grid.episodes, of_campaign)),
        chunk=of_campaign,
    )  # fmt: skip


def _cpa() -> Task:
    domain = market_domain()
    return Task(
        **_spec("cpa-v1"),
        domain=domain,
        n=64,
        config={
            "n": domain.horizon, "slot": domain.slot, "feedback": domain.feedback, "max_bid": domain.max_bid,
            "histories": [h.digest for h in domain.histories],
        },
        draw=partial(market_draw, domain),
        references=cpa_references,
        normalise="task",
        chunk=64,
    )  # fmt: skip


def _rtbcontrol() -> Task:
    # the name is part of the frozen history, wherever the files lie
    campaign = load_campaign(find_folder(data_root(), "rtbcontrol", "1458"), campaign="rtbcontrol-1458")
    levels = (1 / 32, 1 / 8, 1 / 2)
    domain = Bidding([campaign.history], 1000, 20)
    episodes = cut_episodes(campaign.theta, campaign.price, campaign.click, 1000)
    return _replayed("real-1458-v1", domain, episodes, levels, {**_spec("real-1458-v1")}, campaign.warnings)


def _ipinyou(
    campaign: str,
    n: int = 1000,
    c0: float | Sequence[float] = LEVELS,
    limit: int | None = None,
    drop_partial: bool = False,
    max_price: int = 300,
    payment: Literal["first", "second"] = "second",
) -> Task:
    """The user's own log of a campaign: any n, budget levels, and the first `limit` evaluation rows."""
    if campaign not in CAMPAIGNS:
        raise ArenaError("unknown.task", f"no campaign is called {campaign!r}", f"campaigns: {', '.join(CAMPAIGNS)}")
    levels = (float(c0),) if isinstance(c0, int | float) else tuple(float(level) for level in c0)
    if n < 1 or max_price < 1 or not levels or len(set(levels)) < len(levels):
        asked = f"n = {n}, max_price = {max_price}, c0 = {c0}"
        raise ArenaError("task.parameters", f"bidding/ipinyou-{campaign}-v1: {asked}", "n and max_price are at least 1, levels c0 differ")
    found = load_campaign(find_folder(data_root(), "ipinyou", campaign), max_price, min(n, 1000), campaign)
    episodes = cut_episodes(found.theta, found.price, found.click, n, drop_partial, limit, max_price)
    domain = Bidding([found.history], n, max(1, n // 50), payment, max_bid=max_price)
    task = _replayed(f"ipinyou-{campaign}-v1", domain, episodes, levels, {**_spec(f"ipinyou-{campaign}-v1"), "frozen": None}, found.warnings)
    if (task.vectors["ref1"] - task.vectors["ref0"]).mean() < 1e-9:
        raise ArenaError("data.budget", f"{task.id}: the best constant bid wins all that can be won, so nothing is left to judge", "lower c0")
    return task


def _replayed(name: str, domain: Bidding, episodes: Any, levels: Sequence[float], spec: dict[str, Any], notes: Sequence[str]) -> Task:
    known = domain.histories[0]
    for note in notes:
        warnings.warn(f"{spec['id']}: {note}", stacklevel=2)
    everything = replay(episodes.theta, episodes.price, episodes.click, levels, known, domain.slot)
    everything_costs = np.where(episodes.price <= domain.max_bid, episodes.price, 0).sum(1)
    for level in levels:
        free = int((known.budget(level, domain.horizon) >= everything_costs[: len(everything_costs) - 1 or None]).sum())
        if free:
            warnings.warn(f"{spec['id']}, c0 = {level:g}: in {free} episodes the budget pays for every auction; they score 1", stacklevel=2)
    past = known.episodes() if len(known.theta) >= domain.horizon else None

    def draw(split: str, indices: Sequence[int], seeds: Sequence[int]) -> Auctions:
        if split == "test":
            return everything[list(indices)] if len(indices) < len(everything) else everything
        if past is None:
            raise ArenaError("data.train", f"{spec['id']} has no training rows", "put train.theta.txt (click price theta) beside info.json")
        row = np.asarray(indices, np.int64)
        # the last fifth of the history's episodes validates, the rest trains
        cut = max(1, len(past[0]) * 4 // 5)
        pool = np.arange(cut) if split == "train" else np.arange(cut, len(past[0])) if cut < len(past[0]) else np.arange(cut)
        chosen = pool[(row // len(levels)) % len(pool)]
        click = np.zeros((len(row), domain.horizon), np.uint8)
        return _rows(past[0][chosen], past[1][chosen], click, np.asarray(levels)[row % len(levels)], domain)

    n = len(everything)
    return Task(
        **spec,
        domain=domain,
        n=n,
        config={
            "n": domain.horizon, "slot": domain.slot, "c0": list(levels), "payment": domain.payment, "feedback": domain.feedback,
            "max_bid": domain.max_bid, "histories": [known.digest],
        },
        draw=draw,
        references=references,
        normalise="task",
        groups=tuple(f"{known.campaign}, c0 {_fraction(level)}" for level in sorted(levels)),
        chunk=min(n, 400),
    )  # fmt: skip


def _rows(theta: Any, price: Any, click: Any, c0: Any, domain: Bidding) -> Auctions:
    from domains.bidding.scenarios import auctions

    return auctions(theta, price, click, c0, np.zeros(len(c0), np.int64), domain.histories, domain.slot)


def _fraction(level: float) -> str:
    return f"1/{1 / level:g}" if level < 1 else f"{level:g}"
