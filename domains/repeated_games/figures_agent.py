"""One agent on one task, drawn from its recorded actions: the table of games, what it does to who errs once, taking turns, strategies, words."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray
from torch import Tensor

from arena.rollout import states
from arena.task import Task
from domains.repeated_games.behaviour import framing_sensitivity, label_bias, order_bias, seen_from_column
from domains.repeated_games.equilibria import pure_equilibria
from domains.repeated_games.figures_parts import Dots, dots, mixtures, said, strips, table_of_games
from domains.repeated_games.figures_style import Floats, letters, titled
from domains.repeated_games.figures_task import ratios, scores
from domains.repeated_games.fitting import Fit, fit, intended
from domains.repeated_games.games import FAMILIES, Ranks, canonical, ordinal_games
from domains.repeated_games.kernel import FRAMINGS, Matches, RepeatedGame
from domains.repeated_games.opponents import table, views

STRATEGIES = ("allc", "alld", "tft", "stft", "grim", "wsls", "alternator")  # that a mixture is fitted to
AGAINST_ONCE, AGAINST_TURNS = "rounds against defect-once", "rounds against alternators"
SHOWN = 40  # matches of a panel
FITTED, ENOUGH, DRAWS = 300, 5, 100  # matches of a mixture at most and at least; of its bootstrap


@dataclass(frozen=True)
class Record:
    """The matches that an agent finished. rows: [N] indices of the task's scenarios; history: [N, T] joint codes, own action first; play: those"""

    rows: NDArray[np.intp]
    play: Matches
    history: Tensor

    @property
    def own(self) -> Tensor:
        return self.history >> 1


def draw_agent(task: Task, name: str, metrics: Mapping[str, Floats], actions: Mapping[str, NDArray[np.generic]]) -> dict[str, go.Figure]:
    """Figures of an agent by name, of those that the task has matches for: `table of games`, AGAINST_ONCE,
    AGAINST_TURNS, `strategies`, `words`.

    metrics: metric -> float64 [n], NaN where the scenario failed; actions: role -> [T, n], of one run. Raises ArenaError `verify.actions`.
    """
    if not isinstance(task.domain, RepeatedGame):
        return {}
    figures = {}
    games = by_game(task, metrics)
    if games is not None:
        alt = f"{name} in the 144 games: score by place in the table; by family {said(_families(games))}"
        figures["table of games"] = table_of_games(games, alt, "score: 0 random play, 1 best reply", (0.0, 1.0))
    record = recorded(task, metrics, actions)
    if not len(record.rows):
        return figures
    figures |= panels(task, name, record)
    fits = by_strategy(task, record)
    if fits:
        figures["strategies"] = mixtures(fits, STRATEGIES)
    worded = words(task, name, record)
    return figures | ({"words": worded} if worded is not None else {})


def recorded(task: Task, metrics: Mapping[str, Floats], actions: Mapping[str, NDArray[np.generic]]) -> Record:
    """The matches in which nothing failed, played again from the actions."""
    rows = np.flatnonzero(np.isfinite(metrics["return"]))
    play = task.scenarios[torch.from_numpy(rows)]
    assert isinstance(play, Matches)
    if not len(rows):
        return Record(rows, play, torch.zeros(0, task.domain.horizon, dtype=torch.int8))
    ((_, state),) = deque(states(task.domain, play, {role: moves[:, rows] for role, moves in actions.items()}), maxlen=1)
    history = torch.where(play.seat[:, None] == 0, state.history, seen_from_column(state.history))
    return Record(rows, play, history)


# ---- the table of games ---------------------------------------------------------------------------------------------------


def by_game(task: Task, metrics: Mapping[str, Floats]) -> Floats | None:
    """[12, 12] mean score in each of the 144 games, at its place in their table; NaN: not played. None where the task has other games."""
    play = task.scenarios
    assert isinstance(play, Matches)
    distinct, index = torch.unique(play.payoffs.reshape(len(play.payoffs), 8), dim=0, return_inverse=True)
    places = {(game.first, game.second): (game.row, game.column) for game in ordinal_games()}
    where = []
    for payoffs in distinct.reshape(-1, 4, 2):
        first, second = (tuple(int(points) for points in payoffs[:, player].tolist()) for player in (0, 1))
        if sorted(first) != [1, 2, 3, 4] or sorted(second) != [1, 2, 3, 4]:
            return None
        where.append(places[canonical(_ranks(first), _ranks(second))])
    total, count = np.zeros((12, 12)), np.zeros((12, 12))
    at = tuple(np.array(where).T[:, index.numpy()])
    np.add.at(total, at, scores(task, metrics))
    np.add.at(count, at, 1)
    with np.errstate(invalid="ignore"):
        return total / count


def _ranks(points: Sequence[int]) -> Ranks:
    a, b, c, d = points
    return a, b, c, d


def _families(games: Floats) -> dict[str, float]:
    found: dict[str, list[float]] = {family: [] for family in FAMILIES}
    for game in ordinal_games():
        found[game.family].append(float(games[game.row, game.column]))
    return {family: float(np.nanmean(values)) for family, values in found.items() if np.isfinite(values).any()}


# ---- panels ---------------------------------------------------------------------------------------------------------------


def panels(task: Task, name: str, record: Record) -> dict[str, go.Figure]:
    """Round by round: the matches against who defects once, and those against who alternates, of games with two pure equilibria."""
    assert isinstance(task.domain, RepeatedGame)
    names = np.array(task.domain.opponents.names)[record.play.opponent.numpy()]
    turns = (pure_equilibria(record.play.payoffs).flatten(1).sum(1) == 2).numpy()
    chosen = {AGAINST_ONCE: names == "defect-once", AGAINST_TURNS: np.isin(names, ("alternator", "alternator-d")) & turns}
    found = {}
    for title, mask in chosen.items():
        at = np.flatnonzero(mask)
        if not len(at):
            continue
        shown = at[np.unique(np.linspace(0, len(at) - 1, SHOWN).round().astype(int))]
        history = record.history[shown].numpy()
        codes = ("CC", "CD", "DC", "DD") if title == AGAINST_ONCE else ("00", "01", "10", "11")
        rows = [f"{record.rows[k]}: {task.groups[int(task.vectors['group'][record.rows[k]])]}" for k in shown]
        if title == AGAINST_TURNS:
            rows = [f"{row}, {names[k]}" for row, k in zip(rows, shown, strict=True)]
        spelled = [f"{row}: {' '.join(codes[code] for code in line)}" for row, line in zip(rows, history[:4], strict=False) if len(line) <= 20]
        alt = f"{name}, {len(shown)} of {len(at)} matches round by round, own action first; {'; '.join(spelled)}"
        found[title] = strips(history, rows, alt, codes)
    return found


# ---- strategies -----------------------------------------------------------------------------------------------------------


def by_strategy(task: Task, record: Record) -> dict[str, Fit]:
    """Mixtures of STRATEGIES, each match by itself, in every group of scenarios that are prisoner's dilemmas with C as action 0."""
    payoffs = record.play.payoffs
    r, s, t, p = payoffs[..., 0].flatten(1).T
    symmetric = (payoffs[..., 1] == payoffs[..., 0].transpose(1, 2)).flatten(1).all(1)
    dilemma = ((t > r) & (r > p) & (p > s) & symmetric).numpy()
    place = task.vectors["group"][record.rows].astype(int)
    tables = [table(name, views(payoffs[:1])[0], task.domain.horizon) for name in STRATEGIES]
    found = {}
    for group, label in enumerate(task.groups):
        at = np.flatnonzero(dilemma & (place == group))
        if len(at) < ENOUGH:
            continue
        at = at[np.unique(np.linspace(0, len(at) - 1, FITTED).round().astype(int))]
        history = record.history[at]
        found[label] = fit(history >> 1, intended(tables, history), draws=DRAWS)
    return found


# ---- words ----------------------------------------------------------------------------------------------------------------


def words(task: Task, name: str, record: Record) -> go.Figure | None:
    """P(action 0) by the letter that names it, by whether it is listed first, by framing: dots that lie apart show what words change.

    Letters where the task has every game under both; None where it varies nothing.
    """
    own, play = record.own, record.play
    zero, played = (own == 0).double(), (own >= 0).double()
    pairs = {letters(pair) for pair in play.labels}
    conditions: dict[str, Tensor] = {}
    biases = {}
    first, second = min(pairs)
    if len(pairs) == 2 and (second, first) in pairs:
        named = play.labels[:, :1] == ord(first) - ord("A")
        conditions |= {f"{first} names it": named.expand_as(own), f"{second} names it": (~named).expand_as(own)}
        biases[f"bias to {first}"] = label_bias(own, play.labels, ord(first) - ord("A"))
    if bool((play.order != play.order[:, :1]).any()):  # else it goes with the wording
        conditions |= {"listed first": play.order == 0, "listed second": play.order == 1}
        biases["bias to the first listed"] = order_bias(own, play.order)
    framings = sorted(set(play.framing.tolist()))
    if len(framings) > 1:
        conditions |= {FRAMINGS[framing]: (play.framing == framing)[:, None].expand_as(own) for framing in framings}
        biases["framing changes P by"] = framing_sensitivity(own, play.framing)
    if not conditions:
        return None
    counts = []
    for mask in conditions.values():
        both = np.zeros((2, task.n))
        both[:, record.rows] = np.stack([(zero * mask).sum(1).numpy(), (played * mask).sum(1).numpy()])
        counts.append((both[0], both[1]))
    values = ratios(task, counts)
    told = said(biases)
    drawn = dots(Dots(list(conditions), {name: values}, "P(action 0), 95 % interval"), f"{name}: P(action 0) by wording; {told}")
    return titled(drawn, (told,))
