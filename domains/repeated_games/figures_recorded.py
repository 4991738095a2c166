"""Figures of the released matches: language models with each other, with simple strategies, and with people (recorded*.py, tables.py)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from domains.repeated_games.behaviour import behaviour, seen_from_column
from domains.repeated_games.figures_parts import Dots, bars, dots, mixtures, said, square, strips, table_of_games
from domains.repeated_games.figures_style import Floats, blank, look
from domains.repeated_games.figures_task import FINGERPRINT
from domains.repeated_games.fitting import fit, intended
from domains.repeated_games.games import PD_8
from domains.repeated_games.opponents import table, views
from domains.repeated_games.recorded import Games, Played
from domains.repeated_games.recorded_people import People
from domains.repeated_games.tables import FAMILIES, MODELS, MOST

STRATEGIES = ("allc", "alld", "tft", "stft", "grim", "wsls", "alternator")
PLAYERS = ("gpt4", "gpt35", "gpt3", "claude", "llama2")  # of the prisoner's dilemma and of the battle of the sexes
BAND = 1.96  # standard errors on either side


def estimate(values: Floats) -> Floats:
    """[3] mean of independent matches [k] and the ends of its 95 % interval."""
    error = BAND * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return np.array([values.mean(), values.mean() - error, values.mean() + error])


def families(games: Games, played: Played) -> go.Figure:
    """Scores of every model in every family, total / 40: bars with intervals between matches."""
    family = games.family[games.where(played.game.astype(np.int64))]
    names = [name for name in FAMILIES if name == "all" or (family == name).any()]
    score = played.totals / (played.history.shape[1] * MOST)
    values = {}
    for model in MODELS:
        seats = [(played.row == model, 0), (played.column == model, 1)]
        own = [np.concatenate([score[mine & ((family == name) | (name == "all")), seat] for mine, seat in seats]) for name in names]
        values[model] = np.array([estimate(each) for each in own])
    counts = {name: len(set(played.game[(family == name) | (name == "all")])) for name in names}
    rows = [f"{name} ({counts[name]})" for name in names]
    alt = f"mean total / 40 by family of games; all: {said({name: value[-1, 0] for name, value in values.items()})}"
    return bars(Dots(rows, values, "total / 40 (95 % interval)", (0.0, 1.0)), alt)


def game_scores(games: Games, played: Played, model: str) -> Floats:
    """[12, 12] mean total / 40 of a model in each game, both seats, at its place in the table of games; NaN: not there."""
    at = games.where(played.game.astype(np.int64))
    total, count = np.zeros((12, 12)), np.zeros((12, 12))
    for names, seat in ((played.row, 0), (played.column, 1)):
        mine = names == model
        place = games.row[at[mine]] - 1, games.column[at[mine]] - 1
        np.add.at(total, place, played.totals[mine, seat] / (played.history.shape[1] * MOST))
        np.add.at(count, place, 1)
    with np.errstate(invalid="ignore"):
        return total / count


def games_table(games: Games, played: Played, model: str) -> go.Figure:
    """The table of games, shaded by what a model earned."""
    scores = game_scores(games, played, model)
    alt = f"{model}: mean total / 40 in {int(np.isfinite(scores).sum())} of the 144 games, from {np.nanmin(scores):.3f} to {np.nanmax(scores):.3f}"
    return table_of_games(scores, alt, f"{model}: mean total / 40 in both seats", (0.2, 1.0))


def players(played: Played, title: str) -> go.Figure:
    """Points of the row player with every column player, of the most a round pays."""
    names = [name for name in dict.fromkeys([*played.row, *played.column])]
    scores = np.full((len(names), len(names)), np.nan)
    most = played.history.shape[1] * played.payoffs[..., 0].max((1, 2))
    for match in range(len(played)):
        scores[names.index(played.row[match]), names.index(played.column[match])] = played.totals[match, 0] / most[match]
    met = np.isfinite(scores).sum(1)
    best = np.where(met > 0, np.nansum(scores, 1) / np.maximum(met, 1), np.nan)
    order = np.argsort(-np.nan_to_num(best, nan=-1.0), kind="stable")
    order = order[np.isfinite(best[order])]
    ranked = [names[k] for k in order]
    alt = f"{title}: row player's points of the most possible; means over partners: {said({names[k]: float(best[k]) for k in order})}"
    axes = ("this player, in the row seat", "with this one in the column seat")
    return square(scores[np.ix_(order, order)], ranked, alt, f"{title}: row's points / most possible", (0.0, 1.0), axes)


def matches_of(played: Played, player: str) -> Tensor:
    """[N, T] the matches of a player from its side, those of both seats, its play against itself in the row seat alone."""
    first = torch.from_numpy(played.history[played.row == player])
    second = torch.from_numpy(played.history[(played.column == player) & (played.row != player)])
    return torch.cat((first, seen_from_column(second)))


def fingerprints(played: Played, names: Sequence[str] = PLAYERS) -> go.Figure:
    """The four conditional rates of cooperation of each model in the prisoner's dilemma."""
    values = {}
    for name in names:
        rates = behaviour(matches_of(played, name))
        rows = []
        for rate in FINGERPRINT.values():
            happened, of = rates[rate].count.double().numpy(), rates[rate].of.double().numpy()
            rows.append(pooled(happened, of))
        values[name] = np.array(rows)
    parts = [f"{name}: {said(dict(zip(FINGERPRINT, value[:, 0], strict=True)))}" for name, value in values.items()]
    return dots(Dots(list(FINGERPRINT), values, "P(C) after a round, own action first"), f"cooperation after each kind of round; {'; '.join(parts)}")


def pooled(happened: Floats, of: Floats, draws: int = 2000) -> Floats:
    """[3] sum(happened) / sum(of) over matches [k], and the ends of its 95 % bootstrap interval; NaN where it never could."""
    if not of.sum():
        return np.full(3, np.nan)
    picked = np.random.Generator(np.random.Philox(0)).integers(0, len(of), (draws, len(of)))
    with np.errstate(invalid="ignore"):
        each = happened[picked].sum(1) / of[picked].sum(1)
    low, high = np.nanquantile(each, [0.025, 0.975])
    return np.array([happened.sum() / of.sum(), low, high])


def panel(played: Played, pairs: Sequence[tuple[str, str]], what: str) -> go.Figure:
    """Matches of pairs of players round by round, the first of each pair in the row seat."""
    history = np.concatenate([played.between(row, column).history[:1] for row, column in pairs])
    points = [played.between(row, column).totals[0] for row, column in pairs]
    rows = [f"{row} with {column}: {a:g}/{b:g}" for (row, column), (a, b) in zip(pairs, points, strict=True)]
    codes = ("JJ", "JF", "FJ", "FF")
    spelled = [f"{row}: {' '.join(codes[code] for code in line)}" for row, line in zip(rows, history, strict=True)]
    return strips(history, rows, f"{what}, first player's letter first; {'; '.join(spelled)}", codes)


def strategies(played: Played, names: Sequence[str] = PLAYERS, draws: int = 200) -> go.Figure:
    """Mixtures of strategies fitted to each model's matches in the prisoner's dilemma."""
    tables = [table(name, views(PD_8[None])[0], played.history.shape[1]) for name in STRATEGIES]
    fits = {}
    for name in names:
        history = matches_of(played, name)
        fits[name] = fit(history >> 1, intended(tables, history), draws=draws)
    return mixtures(fits, STRATEGIES)


def wordings(parts: dict[str, Played], opponent: str = "defect-once") -> go.Figure:
    """P(C) of GPT-4 against who defects once, by what may not matter: framing, letter of C, order of the options, unit of the points."""
    rows: list[str] = []
    found: list[Floats] = []
    joined = {
        key: np.concatenate([getattr(part, key)[part.column == opponent] for part in parts.values()])
        for key in ("history", "labels", "order", "unit")
    }
    framing = np.concatenate([[name] * int((part.column == opponent).sum()) for name, part in parts.items()])
    share = (joined["history"] >> 1 == 0).mean(1)
    kinds = {
        "framing": framing,
        "C is": joined["labels"][:, 0],
        "C listed": np.where(joined["order"][:, 0] == 0, "first", "second"),
        "unit": joined["unit"],
    }
    for kind, values in kinds.items():
        for value in sorted(set(values)):
            rows.append(f"{kind} {value} ({int((values == value).sum())})")
            found.append(estimate(share[values == value]))
    alt = f"P(C) of gpt4 against {opponent}, {len(share)} variants: {said({row: value[0] for row, value in zip(rows, found, strict=True)})}"
    return dots(Dots(rows, {"gpt4": np.array(found)}, f"P(C) against {opponent} (95 % interval)", None), alt)


def people(found: People, game: int) -> go.Figure:
    """Mean points of people in every round with a 95 % band: against base GPT-4 and against the one that predicts first. game: 0 PD, 1 BoS"""
    name = ("prisoner's dilemma", "battle of the sexes")[game]
    figure = blank("", 440)
    spoken = []
    rounds = np.arange(1, found.points.shape[2] + 1)
    for kind, (label, who) in enumerate((("base GPT-4", ~found.scot), ("SCoT GPT-4", found.scot))):
        style, points = look(3 * kind), found.points[who, game]
        mean, error = points.mean(0), BAND * points.std(0, ddof=1) / np.sqrt(len(points))
        band = f"rgba({int(style['colour'][1:3], 16)}, {int(style['colour'][3:5], 16)}, {int(style['colour'][5:7], 16)}, 0.2)"
        figure.add_scatter(
            x=np.concatenate((rounds, rounds[::-1])), y=np.concatenate((mean + error, (mean - error)[::-1])), fill="toself", mode="lines",
            line={"width": 0}, fillcolor=band, hoverinfo="skip", name=f"95 % band against {label}",
        )  # fmt: skip
        figure.add_scatter(
            x=rounds, y=mean, mode="lines+markers", name=f"{len(points)} people against {label}: {points.mean():.2f}",
            line={"color": style["colour"], "dash": style["dash"]}, marker={"symbol": style["symbol"], "size": 8},
            hovertemplate="round %{x}: %{y:.2f} points<extra></extra>",
        )  # fmt: skip
        spoken.append(f"{points.mean():.3f} against {label}")
    figure.update_layout(meta={"alt": f"{name}, mean points of people per round: {', '.join(spoken)}"}, margin={"b": 120})
    figure.update_xaxes(title="round", dtick=1)
    figure.update_yaxes(title=f"points per round, {name}")
    return figure
