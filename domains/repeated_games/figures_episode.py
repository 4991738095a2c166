"""One recorded match: what was played and earned round by round, and the game itself with the cells that theory names."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray

from arena.errors import ArenaError
from arena.rollout import states
from arena.task import Task
from domains.repeated_games.equilibria import bargaining_cell, pure_equilibria, seen_from
from domains.repeated_games.figures_style import (
    ACTIONS,
    BLUE,
    GREEN,
    GREY,
    LETTERED,
    PURPLE,
    VERMILLION,
    WRITTEN,
    Floats,
    blank,
    blocks,
    game_name,
    letters,
    titled,
)
from domains.repeated_games.kernel import FRAMINGS, Matches, RepeatedGame


@dataclass(frozen=True)
class Seen:
    """A match from the candidate's side; of two candidates from the row player's.

    own, other: [T] actions; points: [T, 2] (own, other's); payoffs: [2, 2, 2] [own action, other's action, (own points, other's)]
    slips: [T, 2] bool, whose hand trembled; names: of the two players; letters: of the two actions; refs: (random play, best reply) in points, or ()
    """

    game: str
    own: NDArray[np.int8]
    other: NDArray[np.int8]
    points: Floats
    payoffs: torch.Tensor
    slips: NDArray[np.bool_]
    names: tuple[str, str]
    letters: tuple[str, str]
    title: tuple[str, ...]
    refs: tuple[float, ...] = ()

    @property
    def totals(self) -> Floats:
        """[T, 2] points so far."""
        return np.asarray(self.points.cumsum(0))


def draw(task: Task, index: int, actions: Mapping[str, NDArray[np.generic]]) -> dict[str, go.Figure]:
    """Figures of one recorded match by name: `rounds`, `game`. actions: role -> [T]

    Raises ArenaError `task.index`, `figure.actions`, `verify.actions`.
    """
    seen = view(task, index, actions)
    return {"rounds": rounds(seen), "game": game(seen)}


def view(task: Task, index: int, actions: Mapping[str, NDArray[np.generic]]) -> Seen:
    """A recorded match. Raises ArenaError as `draw`."""
    domain, scenario = task.domain, task.sample("test", [index])
    assert isinstance(scenario, Matches)
    moves = {role: np.asarray(taken) for role, taken in actions.items()}
    for role, taken in moves.items():
        if taken.shape != (domain.horizon,) and taken.shape != (domain.horizon, 1):
            raise ArenaError(
                "figure.actions",
                f"scenario {index} of {task.id}: the recorded actions of {role} have shape {taken.shape}",
                f"give one action per round, shape ({domain.horizon},): one column of the recording",
            )
    single = isinstance(domain, RepeatedGame)
    shape = (domain.horizon, 1) if single else (domain.horizon, 1, 1)
    ((_, state),) = deque(states(domain, scenario, {role: taken.reshape(shape) for role, taken in moves.items()}), maxlen=1)
    seat = scenario.seat
    code = state.history[0].numpy()
    row, column = code >> 1, code & 1
    first = int(seat[0]) == 0
    own, other = (row, column) if first else (column, row)
    payoffs = seen_from(scenario.payoffs, seat)[0]
    points = payoffs.numpy()[own.astype(int), other.astype(int)]
    slips = scenario.slip[0].numpy() if scenario.slip.shape[1] else np.zeros((len(own), 2), bool)
    pair = letters(scenario.labels[0])
    opponent = domain.opponents.names[int(scenario.opponent[0])] if isinstance(domain, RepeatedGame) else ""
    names = ("this agent", opponent) if single else ("row", "column")
    refs = tuple(float(task.vectors[name][index]) for name in ("ref0", "ref1")) if single else ()
    total = points.sum(0)
    lines = [
        f"{game_name(scenario.payoffs[0])}, {len(own)} rounds: {total[0]:g} to {total[1]:g} points",
        f"{names[0]}{'' if not single else ' (row)' if first else ' (column)'} against {names[1]}",
        f"actions {pair[0]} and {pair[1]}, told as {FRAMINGS[int(scenario.framing[0])]}",
    ]  # fmt: skip
    return Seen(game_name(scenario.payoffs[0]), own, other, points, payoffs, slips if first else slips[:, ::-1], names, pair, tuple(lines), refs)


def rounds(seen: Seen) -> go.Figure:
    """Both players' actions as two rows of cells with their points, and what both had earned by then."""
    t = np.arange(1, len(seen.own) + 1)
    total = seen.totals[-1]
    said = f"own actions {_spelled(seen, seen.own)}, the other's {_spelled(seen, seen.other)}" if len(t) <= LETTERED else f"{len(t)} rounds"
    shares = ", ".join(f"{name} plays {seen.letters[0]} in {int((acts == 0).sum())} of {len(t)}" for name, acts in _players(seen))
    figure = blank("; ".join((*seen.title, said, shares)), 470, 2, (0.32, 0.68))
    z = np.stack((seen.own, seen.other)).astype(np.float64)
    written = [[_cell(seen, action, points) for action, points in zip(row, paid, strict=True)] for row, paid in zip(z, seen.points.T, strict=True)]
    hover = [
        [f"{name}, round {k}: {seen.letters[int(action)]}, {points:g} points" for k, action, points in zip(t, row, paid, strict=True)]
        for name, row, paid in zip(seen.names, z, seen.points.T, strict=True)
    ]
    names = [f"{letter}, action {action}" for action, letter in enumerate(seen.letters)]
    blocks(figure, z, ACTIONS, names, x=t, y=[0, 1], text=written, texttemplate="%{text}", hovertext=hover, hoverinfo="text", row=1, col=1)
    if seen.slips.any():
        at, who = np.nonzero(seen.slips)
        marker = {"symbol": "diamond", "size": 7, "color": "black", "line": {"color": "white", "width": 1}}
        figure.add_scatter(x=t[at], y=who + 0.3, mode="markers", name="hand trembled", marker=marker, hoverinfo="name", row=1, col=1)
    for kind, (colour, symbol, dash) in enumerate(((GREEN, "circle", "solid"), (VERMILLION, "square", "dash"))):
        mode = "lines+markers" if len(t) <= LETTERED else "lines"
        figure.add_scatter(
            x=t, y=seen.totals[:, kind], mode=mode, name=f"{seen.names[kind]}: {total[kind]:g}", line={"color": colour, "dash": dash, "width": 2},
            marker={"symbol": symbol, "size": 7}, hovertemplate="after round %{x}: %{y:g} points<extra></extra>", row=2, col=1,
        )  # fmt: skip
    for value, words, dash in zip(seen.refs, ("random play", "best reply"), ("dot", "longdash"), strict=False):
        style = {"color": GREY, "dash": dash, "width": 1.5}
        figure.add_scatter(
            x=[0.5, len(t) + 0.5], y=[value] * 2, mode="lines", name=f"{words}: {value:.4g}", line=style, hoverinfo="name", row=2, col=1
        )
    most = max(float(seen.totals.max()), *seen.refs, 1.0)
    figure.update_yaxes(tickvals=[0, 1], ticktext=[_short(name) for name in seen.names], range=[1.5, -0.5], showgrid=False, row=1, col=1)
    figure.update_yaxes(title="points so far", range=[min(0.0, float(seen.totals.min())) - 0.03 * most, 1.1 * most], row=2, col=1)
    figure.update_xaxes(range=[0.5, len(t) + 0.5], showgrid=False)
    figure.update_xaxes(title="round", dtick=1 if len(t) <= WRITTEN else None, row=2, col=1)
    return titled(figure, seen.title)


def _players(seen: Seen) -> tuple[tuple[str, NDArray[np.int8]], ...]:
    return (seen.names[0], seen.own), (seen.names[1], seen.other)


def _spelled(seen: Seen, acts: NDArray[np.int8]) -> str:
    return "".join(seen.letters[action] for action in acts)


def _cell(seen: Seen, action: float, points: float) -> str:
    letter = seen.letters[int(action)]
    return f"{letter}<br>{points:g}" if len(seen.own) <= WRITTEN else letter if len(seen.own) <= LETTERED else ""


def _short(name: str) -> str:
    return name if len(name) <= 12 else f"{name[:11]}…"


# ---- the game -------------------------------------------------------------------------------------------------------------


def efficient(payoffs: torch.Tensor) -> NDArray[np.bool_]:
    """[2, 2] cells from which no other cell is better for one player and not worse for the other (Pareto)."""
    cells = payoffs.reshape(4, 2).numpy()
    beaten = [bool(((cells >= cell).all(1) & (cells > cell).any(1)).any()) for cell in cells]
    return ~np.array(beaten).reshape(2, 2)


def game(seen: Seen) -> go.Figure:
    """The payoff matrix from the candidate's side, how often each cell was played, and marks on pure equilibria, Pareto and bargaining cells."""
    payoffs, (own, other) = seen.payoffs, seen.letters
    counts = np.bincount(2 * seen.own.astype(int) + seen.other, minlength=4).reshape(2, 2)
    bargain = np.zeros((2, 2), bool)
    bargain.flat[int(bargaining_cell(payoffs))] = True
    marks = {
        "pure Nash equilibrium": (pure_equilibria(payoffs).numpy(), "star", VERMILLION, -0.26),
        "Pareto-efficient": (efficient(payoffs), "circle-open", BLUE, 0.0),
        "Nash bargaining cell": (bargain, "diamond", PURPLE, 0.26),
    }
    spoken = [
        f"{seen.letters[i]}{seen.letters[j]} pays {payoffs[i, j, 0]:g} and {payoffs[i, j, 1]:g}, played {counts[i, j]} times"
        + "".join(f", {name}" for name, (where, *_) in marks.items() if where[i, j])
        for i, j in np.ndindex(2, 2)
    ]
    figure = blank("; ".join((seen.title[0], *spoken)), 400)
    for i, j in np.ndindex(2, 2):
        figure.add_shape(type="rect", x0=j - 0.5, x1=j + 0.5, y0=i - 0.5, y1=i + 0.5, line={"color": GREY, "width": 1})
    at = list(np.ndindex(2, 2))
    words = [f"<b>{payoffs[i, j, 0]:g}, {payoffs[i, j, 1]:g}</b><br>played {counts[i, j]}×" for i, j in at]
    figure.add_scatter(
        x=[j for _, j in at], y=[i - 0.1 for i, _ in at], mode="text", text=words, textfont={"size": 15}, showlegend=False, hoverinfo="skip",
    )  # fmt: skip
    for name, (where, symbol, colour, shift) in marks.items():
        i, j = np.nonzero(where)
        if len(i):
            marker = {"symbol": symbol, "size": 14, "color": colour, "line": {"width": 2 if symbol.endswith("open") else 0}}
            figure.add_scatter(x=j + shift, y=i + 0.32, mode="markers", name=name, marker=marker, hovertemplate=f"{name}<extra></extra>")
    figure.update_xaxes(
        tickvals=[0, 1], ticktext=[own, other], side="top", range=[-0.52, 1.52], showgrid=False, title=f"action of {seen.names[1]} (second number)"
    )
    figure.update_yaxes(tickvals=[0, 1], ticktext=[own, other], range=[1.52, -0.52], showgrid=False, title=f"action of {seen.names[0]} (first)")
    titled(figure, (seen.title[0].split(":")[0],))
    return figure.update_layout(margin={"t": 100, "b": 60})
