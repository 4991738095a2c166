"""Which strategies a set of players used: a mixture fitted by maximum likelihood (SFEM: Dal Bo and Frechette, American Economic Review 2011).

Every player follows one of K strategies through all its matches and, in every round, does what it says with probability beta, the other
thing otherwise; beta = 1 / (1 + exp(-1 / gamma)), one for all. Shares of the strategies and gamma come from an EM; intervals from a
bootstrap over matches. Strategies which the matches cannot tell apart (ALLC and TFT against partners who never defect) share their weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from arena.errors import ArenaError
from arena.seeds import stream_key, uniforms
from domains.repeated_games.automata import Table

MOST = 1 - 1e-6  # beta: of players who never err
_STARTS = (0.6, 0.8, 0.95)  # of beta; the likelihood may have several maxima
_EQUAL = 1e-6  # log likelihoods of ends that are alike
_STEPS, _CLOSE = 1000, 1e-8  # of the EM: at most so many, until the log likelihood rises by less per choice


@dataclass(frozen=True)
class Fit:
    """A fitted mixture. Intervals [.., 2] are 95 % of the bootstrap's draws.

    weights: [K] shares of the strategies, weights_interval [K, 2]; beta, gamma: of the rule above, gamma_interval [2]
    log_likelihood: of all choices; bic: with K parameters; bic_random: of fair coins, which have none. The lower explains better
    posterior: [P, K], what each player's matches say it followed
    """

    weights: Tensor
    weights_interval: Tensor
    beta: float
    gamma: float
    gamma_interval: Tensor
    log_likelihood: float
    bic: float
    bic_random: float
    posterior: Tensor


@dataclass(frozen=True)
class _Counts:
    """What the likelihood needs: the distinct probabilities x [U] with which a strategy intends what was played, and how often each came.

    times: [N, K, U]; player: [N] index; players: how many
    """

    x: Tensor
    times: Tensor
    player: Tensor
    players: int


def fit(own: Tensor, said: Tensor, player: Tensor | None = None, draws: int = 200, seed: int = 0) -> Fit:
    """Fit the mixture. own: [N, T] actions 0 or 1, -1 = not played; said: [K, N, T], each strategy's probability of action 0 there (`intended`)

    player: [N], who played the match (none: each match another player); draws: of the bootstrap. Raises ArenaError `fit.input`.
    """
    counts = _counted(own, said, player)
    if draws < 0:
        raise ArenaError("fit.input", f"draws = {draws}", "give how often matches are drawn anew, 0 for no interval")
    once = torch.ones(1, len(own), dtype=torch.float64)
    weights, beta, likelihood = _best(counts)
    choices = int((own >= 0).sum())
    # a bootstrap over matches is the same fit with every match taken as often as it was drawn
    key = torch.arange(draws)
    picked = (uniforms(stream_key("sfem", seed), key, 0, len(own)) * len(own)).long()
    taken = torch.zeros(draws, len(own), dtype=torch.float64).scatter_add_(1, picked, torch.ones(picked.shape, dtype=torch.float64))
    near = (0.9 * weights + 0.1 / len(said)).expand(draws, -1)  # no share starts at 0, where it would stay
    drawn, drawn_beta, _ = _em(counts, taken, near, beta.expand(draws)) if draws else (weights, beta, likelihood)
    span = torch.tensor([0.025, 0.975], dtype=torch.float64)
    posterior = _posterior(counts, once, weights, beta)[0][0]
    bits = torch.log(torch.tensor(float(choices), dtype=torch.float64)).item()
    return Fit(
        weights[0], drawn.quantile(span, 0).T, float(beta), float(gamma_of(beta)), gamma_of(drawn_beta).quantile(span), float(likelihood),
        -2 * float(likelihood) + len(said) * bits, 2 * choices * float(torch.log(torch.tensor(2.0, dtype=torch.float64))), posterior,
    )  # fmt: skip


def intended(tables: Sequence[Table], history: Tensor) -> Tensor:
    """[K, N, T] float64: the probability of action 0 that each automaton has along histories it need not have played.

    tables: made for at least T rounds; history: [N, T] joint codes 2 * own action + the other's, -1 = not played
    """
    found = history.new_zeros((len(tables), *history.shape), dtype=torch.float64)
    for k, table in enumerate(tables):
        play, after = torch.from_numpy(table.play), torch.from_numpy(table.after)
        state = torch.zeros(len(history), dtype=torch.int64)
        for t in range(history.shape[1]):
            found[k, :, t] = play[state]
            state = after[state, history[:, t].long().clamp(min=0)].long()
    return found


def gamma_of(beta: Tensor) -> Tensor:
    """The noise gamma of a probability beta in (1/2, 1); infinite at 1/2."""
    return 1 / torch.log(beta / (1 - beta))


def _counted(own: Tensor, said: Tensor, player: Tensor | None) -> _Counts:
    if own.dim() != 2 or said.dim() != 3 or said.shape[1:] != own.shape or not said.numel():
        wrong = f"actions {list(own.shape)} and probabilities {list(said.shape)} do not fit"
        raise ArenaError("fit.input", wrong, "give [matches, rounds] and [strategies, matches, rounds]")
    played = own >= 0
    if not bool(played.any(1).all()):
        raise ArenaError("fit.input", f"match {int(played.any(1).int().argmin())} has no rounds", "leave it out")
    if bool((own > 1).any()):
        raise ArenaError("fit.input", f"action {int(own.max())} is none", "actions are 0 and 1, -1 where none was played")
    given = said.double()[:, played]
    if not bool(((given >= 0) & (given <= 1)).all()):
        raise ArenaError("fit.input", f"an intended probability is {float(given[~((given >= 0) & (given <= 1))][0])}", "give 0 to 1")
    x, index = torch.unique(torch.where(own == 0, said.double(), 1 - said.double())[:, played], return_inverse=True)
    match = played.nonzero()[:, 0].expand(len(said), -1)
    strategy = torch.arange(len(said))[:, None].expand_as(match)
    times = torch.zeros(len(own), len(said), len(x), dtype=torch.float64)
    times.index_put_((match, strategy, index), torch.ones(match.shape, dtype=torch.float64), accumulate=True)
    if player is not None and tuple(player.shape) != own.shape[:1]:
        raise ArenaError("fit.input", f"players {list(player.shape)} of {len(own)} matches", "give one player per match")
    if player is None:
        return _Counts(x, times, torch.arange(len(own)), len(own))
    who, index = torch.unique(player, return_inverse=True)
    return _Counts(x, times, index, len(who))


def _best(counts: _Counts) -> tuple[Tensor, Tensor, Tensor]:
    """The best of the EM's ends from all starts: weights [1, K], beta [1], log likelihood [1]."""
    (n, k, _), starts = counts.times.shape, torch.tensor(_STARTS, dtype=torch.float64)
    even = torch.full((len(starts), k), 1 / k, dtype=torch.float64)
    weights, beta, likelihood = _em(counts, torch.ones(len(starts), n, dtype=torch.float64), even, starts)
    best = (likelihood >= likelihood.max() - _EQUAL).to(torch.uint8).argmax()  # the first: which of equals is the largest is luck of rounding
    return weights[best, None], beta[best, None], likelihood[best, None]


def _em(counts: _Counts, taken: Tensor, weights: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """From a start (weights [D, K], beta [D]) up to where the likelihood rises no more; rows that are there leave the loop."""
    present = torch.zeros(len(taken), counts.players, dtype=torch.float64).index_add_(1, counts.player, taken) > 0
    total = (taken * counts.times[:, 0].sum(1)).sum(1)
    weights, beta, last = weights.clone(), beta.clone(), torch.full((len(taken),), -torch.inf, dtype=torch.float64)
    rows = torch.arange(len(taken))
    for _ in range(_STEPS):
        posterior, likelihood = _posterior(counts, taken[rows], weights[rows], beta[rows])
        rising = likelihood - last[rows] > _CLOSE * total[rows]
        last[rows] = likelihood
        if not bool(rising.any()):
            break
        rows, posterior = rows[rising], posterior[rising]
        weights[rows] = (posterior * present[rows, :, None]).sum(1) / present[rows].sum(1, keepdim=True)
        agreed = counts.x * beta[rows, None] / _chance(counts.x, beta[rows])  # [D, U]: what was played was what it intended
        each = torch.einsum("nku,du->dnk", counts.times, agreed) * posterior[:, counts.player]
        beta[rows] = ((each.sum(2) * taken[rows]).sum(1) / total[rows]).clamp(0.5, MOST)
    return weights, beta, last


def _posterior(counts: _Counts, taken: Tensor, weights: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """[D, P, K] probability that a player follows a strategy, and the log likelihood [D]."""
    match = torch.einsum("nku,du->dnk", counts.times, _chance(counts.x, beta).log()) * taken[:, :, None]
    each = match.new_zeros(len(taken), counts.players, match.shape[2]).index_add_(1, counts.player, match)
    joint = each + weights.log()[:, None]
    # players whom no draw took have likelihood 1, and so add nothing
    return joint.softmax(2), joint.logsumexp(2).sum(1)


def _chance(x: Tensor, beta: Tensor) -> Tensor:
    """[D, U] probability of what was played."""
    return x * beta[:, None] + (1 - x) * (1 - beta[:, None])
