"""How figures of repeated games look: Okabe-Ito colours, each with a symbol, a dash and a hatching, readable on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots
from torch import Tensor

from domains.repeated_games.games import BOS_10, DIAGONALS, PD_5, PD_8, battle, canonical, ordinal_games

Floats = NDArray[np.float64]
BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
PALETTE = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY)
SYMBOLS = ("circle", "square", "diamond", "x", "triangle-up", "cross", "star", "pentagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
HATCHES = ("", "/", "x", ".", "\\", "+", "-", "|")
ACTIONS = (BLUE, ORANGE)  # of action 0 and action 1: one dark, one light
JOINT = (BLUE, SKY, ORANGE, VERMILLION)  # of 2 * own action + the other's
GREY = "#808080"  # text and reference lines: contrast 3.9 on white, 4.8 on a dark page
GRID = "rgba(128, 128, 128, 0.2)"
CLEAR = "rgba(0, 0, 0, 0)"
WRITTEN = 12  # rounds up to which every cell has its letter and its points written in it
LETTERED = 30  # rounds up to which it has its letter
_NAMED = {"PD-8": PD_8, "PD-5": PD_5, "BoS-10": BOS_10} | {f"BoS {a}/{b}": battle(a, b) for a, b in DIAGONALS}


def look(kind: int) -> dict[str, str]:
    """Colour, symbol, dash and hatching of number `kind`: no two of the first 120 agree in all."""
    return {"colour": PALETTE[kind % 6], "symbol": SYMBOLS[kind % 8], "dash": DASHES[kind % 5], "hatch": HATCHES[kind % 8]}


def blank(alt: str, height: int = 420, rows: int = 1, shares: Sequence[float] | None = None, titles: Sequence[str] = ()) -> go.Figure:
    """A figure without traces in the common style; `rows` panels with one x axis, of heights `shares`."""
    figure = go.Figure()
    if rows > 1:
        figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, row_heights=shares, vertical_spacing=0.08, subplot_titles=titles or None)
    figure.update_layout(
        paper_bgcolor=CLEAR, plot_bgcolor=CLEAR, font={"color": GREY, "size": 12}, height=height, colorway=PALETTE,
        margin={"l": 10, "r": 15, "t": 40, "b": 80}, meta={"alt": alt}, hovermode="closest", hoverlabel={"align": "left"},
        legend={"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0.0, "x": 0.0, "itemsizing": "constant", "font": {"size": 11}},
    )  # fmt: skip
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": GREY, "ticks": "outside", "tickcolor": GREY, "automargin": True}
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure


def titled(figure: go.Figure, lines: Sequence[str]) -> go.Figure:
    """The figure with lines of text above it, as long as a narrow page is wide."""
    height = figure.layout.height
    figure.update_layout(
        title={"text": "<br>".join(lines), "font": {"size": 13}, "x": 0.0, "xanchor": "left", "pad": {"l": 10},
               "y": 1 - 18 / height, "yref": "container", "yanchor": "top"},
        margin={"t": 34 + 18 * len(lines)},
    )  # fmt: skip
    return figure


def blocks(figure: go.Figure, z: Floats, colours: Sequence[str], names: Sequence[str], **options: Any) -> None:
    """Cells of which each number 0, 1, .. has its colour, NaN none; the colours by name in the legend. z: [rows, columns]"""
    place = {key: options.pop(key) for key in ("row", "col") if key in options}
    gap = 1 if z.shape[1] <= LETTERED else 0
    edges = np.arange(len(colours) + 1) / len(colours)
    scale = [[float(end), colour] for k, colour in enumerate(colours) for end in edges[k : k + 2]]
    figure.add_trace(
        go.Heatmap(z=z, colorscale=scale, zmin=-0.5, zmax=len(colours) - 0.5, showscale=False, xgap=gap, ygap=2, hoverongaps=False, **options),
        **place,
    )
    for colour, name in zip(colours, names, strict=True):
        marker = {"symbol": "square", "size": 11, "color": colour}
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=marker), **place)


def game_name(payoffs: Tensor) -> str:
    """What a game [2, 2, 2] is called: the published name, or slug and family of the 144; `2x2 game` for any other."""
    for name, known in _NAMED.items():
        if bool((payoffs == known).all()):
            return name
    ranks = tuple(tuple(int(points) for points in payoffs[..., player].flatten().tolist()) for player in (0, 1))
    if not all(sorted(own) == [1, 2, 3, 4] for own in ranks) or not bool((payoffs == payoffs.round()).all()):
        return "2x2 game"
    found = canonical(*ranks)  # type: ignore[arg-type]
    game = next(game for game in ordinal_games() if (game.first, game.second) == found)
    return f"{game.slug} ({game.family})"


def letters(labels: Tensor) -> tuple[str, str]:
    """The letters of action 0 and action 1. labels: [2], 0 = A"""
    first, second = (chr(ord("A") + int(label)) for label in labels)
    return first, second
