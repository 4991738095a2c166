"""Bradley-Terry ratings of free cross-play. They depend on the pool, so they never rank a task; the payoff matrix always stands beside them
(rock-paper-scissors rates all players alike)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from arena.errors import ArenaError
from arena.scoring.bootstrap import stream

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

ELO = 400 / log(10)
DRAWS = 1000


@dataclass(frozen=True, eq=False, slots=True)
class Ratings:
    """Ratings of A agents on the Elo scale; the reference has 1000 by definition, so its interval is a point."""

    agents: tuple[str, ...]
    rating: Floats  # [A]
    lo: Floats  # [A] 95 % interval
    hi: Floats
    games: Ints  # [A]
    draws: NDArray[np.float32]  # [A, 1000]
    payoff: Floats  # [A, A] mean outcome of the row against the column, NaN where they never met


def rate(
    agents: Sequence[str],
    first: ArrayLike,
    second: ArrayLike,
    outcome: ArrayLike,
    *,
    reference: str,
    pool_digest: str,
    clusters: ArrayLike | None = None,
    ridge: float = 0.1,
) -> Ratings:
    """Ratings from M games: first, second [M] index `agents`, outcome [M] is 1, 0.5 or 0 for the first, clusters [M] label games that share
    their luck (scenario x seating; default: each game its own).

    Maximises sum w_ij log sigma(theta_i - theta_j) - ridge/2 sum theta^2 (Bradley and Terry 1952; a tie is half a win for both) over
    aggregated pair counts; shown as 1000 + 400/ln 10 (theta - theta_reference). Interval: 1000 multinomial reweightings of the clusters.
    Raises `rating.games` for unusable games and `rating.disconnected`, with the components, where the pool falls apart.
    """
    i, j, won = np.asarray(first, dtype=np.intp), np.asarray(second, dtype=np.intp), np.asarray(outcome, dtype=float)
    count = len(agents)
    _check(agents, i, j, won, reference)
    swap = i > j
    low, high, won = np.where(swap, j, i), np.where(swap, i, j), np.where(swap, 1.0 - won, won)
    code, pair = np.unique(low * count + high, return_inverse=True)
    a, b = np.divmod(code, count)
    label = np.arange(len(i)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    shape = (len(code), int(label.max()) + 1)
    # one cell per pair and cluster, whatever the number of games in it: a reweighting is a sparse product
    wins, games = (coo_matrix((weight, (pair, label)), shape=shape).tocsr() for weight in (won, np.ones_like(won)))

    everyone = np.ones(shape[1])
    theta = _fit(wins @ everyone, games @ everyone, a, b, np.zeros(count), ridge)
    rng = stream(pool_digest)
    drawn = np.empty((count, DRAWS))
    for d in range(DRAWS):
        weight = rng.multinomial(shape[1], everyone / shape[1]).astype(float)
        drawn[:, d] = _fit(wins @ weight, games @ weight, a, b, theta, ridge)
    anchor = list(agents).index(reference)
    elo = 1000 + ELO * (drawn - drawn[anchor])
    lo, hi = np.percentile(elo, [2.5, 97.5], axis=1)
    payoff = np.full((count, count), np.nan)
    payoff[a, b] = wins @ everyone / (games @ everyone)
    payoff[b, a] = 1.0 - payoff[a, b]
    played = np.bincount(np.concatenate([i, j]), minlength=count)
    return Ratings(tuple(agents), 1000 + ELO * (theta - theta[anchor]), lo, hi, played, elo.astype(np.float32), payoff)


def _fit(wins: Floats, games: Floats, a: Ints, b: Ints, start: Floats, ridge: float) -> Floats:
    """theta [A], sum zero, from wins of a over b and games per pair [P]. Concave; the start decides the speed only."""
    scale = games.sum()

    def loss(theta: Floats) -> tuple[float, Floats]:
        gap = theta[a] - theta[b]
        value = np.dot(games, np.logaddexp(0.0, gap)) - np.dot(wins, gap) + 0.5 * ridge * np.dot(theta, theta)
        slope = games * expit(gap) - wins
        gradient = np.bincount(a, slope, len(theta)) - np.bincount(b, slope, len(theta)) + ridge * theta
        return value / scale, gradient / scale

    from scipy.optimize import minimize  # a quarter of a second, paid only here

    theta = minimize(loss, start, jac=True, method="L-BFGS-B", options={"gtol": 1e-9, "ftol": 1e-15, "maxiter": 500}).x
    return np.asarray(theta - theta.mean())


def _check(agents: Sequence[str], i: Ints, j: Ints, won: Floats, reference: str) -> None:
    if reference not in agents:
        raise ArenaError("rating.games", f"the reference {reference!r} is not in the pool", f"choose one of {', '.join(agents)}")
    if not len(i) or (i == j).any() or not ((won >= 0) & (won <= 1)).all():
        raise ArenaError(
            "rating.games", f"{len(i)} games, {int((i == j).sum())} of them against oneself", "a game has two agents and an outcome 1, 0.5 or 0"
        )
    graph = coo_matrix((np.ones(len(i)), (i, j)), shape=(len(agents), len(agents)))
    parts, component = connected_components(graph, directed=False)
    if parts > 1:
        names = [[agent for agent, c in zip(agents, component, strict=True) if c == part] for part in range(parts)]
        raise ArenaError(
            "rating.disconnected",
            "no games connect " + " | ".join(", ".join(part) for part in names),
            "play at least one pairing between the groups, or rate them apart",
            components=names,
        )
