"""Kinds of figures that agents of the platform and players of the released matches share; they are given numbers and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from domains.repeated_games.figures_style import CLEAR, GREY, GRID, JOINT, Floats, blank, blocks, look, titled
from domains.repeated_games.fitting import Fit
from domains.repeated_games.games import ordinal_games

SIDE = 12  # of the table of games
ABBREVIATED = ("WW win-win, B biased, SB second best,", "U unfair, PF PD family, T tragic, C cyclic")
BAR = {"thickness": 10, "orientation": "h", "y": 0.0, "yref": "container", "yanchor": "bottom"}  # of colours, below a figure
Estimate = tuple[float, float, float]  # value, low and high end of its 95 % interval; NaN where there is none


@dataclass(frozen=True)
class Dots:
    """Numbers of several players in several rows. values: player -> [rows, 3] estimates; lines: places of reference, with words"""

    rows: Sequence[str]
    values: Mapping[str, Floats]
    axis: str
    span: tuple[float, float] | None = (-0.03, 1.03)
    lines: tuple[tuple[float, str], ...] = ()


def said(values: Mapping[str, float]) -> str:
    """name value, name value: what is not a number left out"""
    return ", ".join(f"{name} {round(value, 3) + 0.0:g}" for name, value in values.items() if np.isfinite(value))


def hatch(style: Mapping[str, str]) -> dict[str, object]:
    """The hatching of bars, over their colour: a page's theme may have it replace the colour."""
    return {"shape": style["hatch"], "fillmode": "overlay", "fgcolor": "white", "fgopacity": 0.6, "size": 7}


def dots(shown: Dots, alt: str) -> go.Figure:
    """A dot with its interval per row and player; the players of a row stand below each other, in the same order in all."""
    players = list(shown.values)
    figure = blank(alt, 150 + len(shown.rows) * max(34, 15 * len(players)))
    offsets = np.linspace(-0.32, 0.32, len(players)) if len(players) > 1 else np.zeros(1)
    for kind, (name, offset) in enumerate(zip(players, offsets, strict=True)):
        style, values = look(kind), shown.values[name]
        there = np.isfinite(values[:, 0])
        mean, low, high = values[there].T
        at = np.flatnonzero(there).tolist()
        words = [f"{name}<br>{shown.rows[row]}: {a:.3f} [{b:.3f}, {c:.3f}]" for row, a, b, c in zip(at, mean, low, high, strict=True)]
        figure.add_scatter(
            x=mean, y=np.array(at) + offset, name=name, mode="markers", marker={"color": style["colour"], "symbol": style["symbol"], "size": 9},
            error_x={"type": "data", "array": high - mean, "arrayminus": mean - low, "thickness": 1.3, "width": 3},
            hovertext=words, hoverinfo="text", meta={"rows": [shown.rows[row] for row in at]},
        )  # fmt: skip
    for place, label in shown.lines:
        note = {"text": label, "y": 1.0, "yanchor": "bottom", "font": {"size": 11}}
        figure.add_vline(place, line={"color": GREY, "dash": "dash", "width": 1.5}, annotation=note)
    for edge in range(1, len(shown.rows)):
        figure.add_hline(edge - 0.5, line={"color": GRID, "width": 1})
    figure.update_yaxes(tickvals=list(range(len(shown.rows))), ticktext=list(shown.rows), range=[len(shown.rows) - 0.5, -0.5], showgrid=False)
    figure.update_xaxes(title=shown.axis, range=shown.span)
    figure.update_layout(showlegend=len(players) > 1, margin={"b": 70 + 18 * (len(players) // 3) if len(players) > 1 else 50})
    return figure


def bars(shown: Dots, alt: str) -> go.Figure:
    """The same as bars from 0, side by side."""
    players = list(shown.values)
    figure = blank(alt, 170 + len(shown.rows) * max(30, 15 * len(players)))
    for kind, name in enumerate(players):
        style, (mean, low, high) = look(kind), shown.values[name].T
        words = [f"{name}<br>{row}: {a:.3f} [{b:.3f}, {c:.3f}]" for row, a, b, c in zip(shown.rows, mean, low, high, strict=True)]
        figure.add_bar(
            x=mean, y=list(shown.rows), name=name, orientation="h", hovertext=words, hoverinfo="text",
            marker={"color": style["colour"], "pattern": hatch(style)},
            error_x={"type": "data", "array": high - mean, "arrayminus": mean - low, "thickness": 1.3, "width": 3, "color": GREY},
        )  # fmt: skip
    for place, label in shown.lines:
        note = {"text": label, "y": 1.0, "yanchor": "bottom", "font": {"size": 11}}
        figure.add_vline(place, line={"color": GREY, "dash": "dash", "width": 1.5}, annotation=note)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    figure.update_xaxes(title=shown.axis, range=shown.span)
    figure.update_layout(
        barmode="group", bargap=0.25, showlegend=len(players) > 1, legend={"traceorder": "normal"},
        margin={"b": 70 + 18 * (len(players) // 3) if len(players) > 1 else 50},
    )  # fmt: skip
    return figure


def table_of_games(scores: Floats, alt: str, scale: str, span: tuple[float, float]) -> go.Figure:
    """The table of Robinson and Goforth, rows and columns 1 to 12, shaded by a number per game [12, 12] (NaN: none); hovering names the game."""
    figure = blank(alt, 640)
    words = [["" for _ in range(SIDE)] for _ in range(SIDE)]
    family = [["" for _ in range(SIDE)] for _ in range(SIDE)]
    for game in ordinal_games():
        value = scores[game.row, game.column]
        number = SIDE * game.row + game.column + 1
        symmetric = ", symmetric" if game.symmetric else ""
        words[game.row][game.column] = f"{game.slug}, number {number}{symmetric}<br>{game.family}: " + (
            "not played" if np.isnan(value) else f"{value:.3f}"
        )
        family[game.row][game.column] = "".join(part[0] for part in game.family.replace("-", " ").split()[:2]).upper()
    at = np.arange(1, SIDE + 1)
    figure.add_heatmap(
        z=scores, x=at, y=at, text=family, texttemplate="%{text}", textfont={"size": 9}, hovertext=words, hoverinfo="text", colorscale="Cividis",
        zmin=span[0], zmax=span[1], xgap=1, ygap=1, colorbar=BAR, hoverongaps=False,
    )  # fmt: skip
    figure.update_xaxes(title="the column player's payoffs", side="top", dtick=1, showgrid=False, range=[0.5, 12.5])
    figure.update_yaxes(title="the row player's payoffs", dtick=1, showgrid=False, range=[12.5, 0.5])
    titled(figure, (f"{scale};", *ABBREVIATED))
    return figure.update_layout(margin={"t": 135, "b": 60})


def strips(history: NDArray[np.int8], rows: Sequence[str], alt: str, codes: Sequence[str] = ("CC", "CD", "DC", "DD")) -> go.Figure:
    """Matches below each other, round by round. history: [N, T] joint codes 2 * own action + the other's, -1 = not played; codes: their names"""
    n, rounds = history.shape
    figure = blank(alt, 200 + 22 * n)  # on a narrow page the legend has four lines
    z = np.where(history < 0, np.nan, history.astype(np.float64))
    text = [["" if code < 0 or rounds > SIDE else codes[code] for code in line] for line in history]
    hover = [
        [f"{row}<br>round {t}: {'' if code < 0 else codes[code]}" for t, code in enumerate(line, 1)] for row, line in zip(rows, history, strict=True)
    ]
    names = [f"{code}: own {code[0]}, the other's {code[-1]}" for code in codes]
    at = list(range(n))
    blocks(
        figure, z, JOINT, names, x=list(range(1, rounds + 1)), y=at, text=text, texttemplate="%{text}", textfont={"size": 10}, hovertext=hover,
        hoverinfo="text",
    )  # fmt: skip
    figure.update_yaxes(tickvals=at, ticktext=list(rows), range=[n - 0.5, -0.5], showgrid=False)
    figure.update_xaxes(title="round", dtick=1 if rounds <= SIDE else None, range=[0.5, rounds + 0.5], showgrid=False)
    return figure.update_layout(margin={"b": 130})


def mixtures(fits: Mapping[str, Fit], strategies: Sequence[str]) -> go.Figure:
    """Stacked bars: which share of a player's matches each strategy explains best (fitting.py); intervals where a bar is hovered."""
    rows = [f"{name}<br>β {fit.beta:.2f}" for name, fit in fits.items()]
    parts = [
        f"{name}: {said({strategy: weight for strategy, weight in zip(strategies, fit.weights.tolist(), strict=True) if weight >= 0.05})}"
        for name, fit in fits.items()
    ]
    figure = blank(f"shares of strategies, fitted by maximum likelihood: {'; '.join(parts)}", 190 + 40 * len(fits))
    for kind, strategy in enumerate(strategies):
        style = look(kind)
        weights = [float(fit.weights[kind]) for fit in fits.values()]
        ends = [fit.weights_interval[kind].tolist() for fit in fits.values()]
        words = [f"{name}<br>{strategy} {w:.2f} [{lo:.2f}, {hi:.2f}]" for name, w, (lo, hi) in zip(fits, weights, ends, strict=True)]
        figure.add_bar(
            x=weights, y=rows, name=strategy, orientation="h", hovertext=words, hoverinfo="text",
            text=[strategy if w >= 0.2 else "" for w in weights], textposition="inside", insidetextanchor="middle", textangle=0,
            marker={"color": style["colour"], "line": {"color": GREY, "width": 0.5}, "pattern": hatch(style)},
        )  # fmt: skip
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    figure.update_xaxes(title="share of the matches", range=[0, 1])
    figure.update_layout(barmode="stack", bargap=0.3, legend={"traceorder": "normal"}, margin={"b": 110}, paper_bgcolor=CLEAR)
    return figure


def square(scores: Floats, names: Sequence[str], alt: str, scale: str, span: tuple[float, float], axes: tuple[str, str]) -> go.Figure:
    """Player by player: the row's number in its match with the column. scores: [n, n], NaN where they did not meet"""
    count = len(names)
    figure = blank(alt, 210 + 34 * count)
    hover = [
        [f"{row} with {column}: " + ("did not meet" if np.isnan(value) else f"{value:.3f}") for column, value in zip(names, line, strict=True)]
        for row, line in zip(names, scores, strict=True)
    ]
    text = [["" if np.isnan(value) else f"{value:.2f}".removeprefix("0") for value in line] for line in scores]
    at = list(range(count))
    figure.add_heatmap(
        z=scores, x=at, y=at, text=text, texttemplate="%{text}", textfont={"size": 10}, hovertext=hover, hoverinfo="text", colorscale="Cividis",
        zmin=span[0], zmax=span[1], xgap=1, ygap=1, colorbar=BAR, hoverongaps=False,
    )  # fmt: skip
    figure.update_xaxes(tickvals=at, ticktext=list(names), side="top", tickangle=-60, showgrid=False, title=axes[1])
    figure.update_yaxes(tickvals=at, ticktext=list(names), range=[count - 0.5, -0.5], showgrid=False, title=axes[0])
    titled(figure, (scale,))
    return figure.update_layout(margin={"t": 140, "b": 60})
