"""How a player behaves, counted over histories of matches: cooperation, retaliation, forgiveness, alternation, and what mere wording changes.

Histories are [B, T] int8 joint codes 2 * own action + the other's, -1 = not played; `seen_from_column` gives those of the other seat.
C is the cooperative action, D the other one; it has a meaning in symmetric games (`metrics.cooperative`), and is action 0 (J) in PD-8 and PD-5.
Counts, not ratios, come out per match, for a situation may never arise: pool them over matches, then divide.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rate:
    """How often something happened of the times it could have: count and of, [B] int64, per match."""

    count: Tensor
    of: Tensor

    @property
    def each(self) -> Tensor:
        """[B] float64 per match, NaN where it could not happen."""
        return self.count / self.of.double()

    @property
    def pooled(self) -> float:
        """Over all matches, NaN where it could happen in none."""
        return float(self.count.sum() / self.of.sum().double())


def seen_from_column(history: Tensor) -> Tensor:
    """The same history with own and other action exchanged."""
    return torch.where((history == 1) | (history == 2), 3 - history, history)


def behaviour(history: Tensor, cooperate: Tensor | None = None) -> dict[str, Rate]:
    """What one player did, by name. history: [B, T] from its own view

    cooperate: [B, 2] its and the other's cooperative action (none: 0); where it is -1, nothing counts but `alternates`

    cooperation, first_move: C in any round, in the first
    after_cc, after_cd, after_dc, after_dd: C after a round of these actions, own first
    nice: matches in which it never played D before the other did (once)
    provoked: D right after the other's first D, where it had played only C till then
    forgives: C after the other played D and then C
    unforgiving: D in rounds 3 and later, where the other played D in the first round and never again
    exploits: D where the other never played D
    late, middle: D in the last two rounds, and in rounds 5 to 8, of matches of at least ten
    alternates: of two rounds running in which both chose the same action, those in which it was not twice the same
    """
    both = torch.zeros(len(history), 2, dtype=torch.int64, device=history.device) if cooperate is None else cooperate
    played = (history >= 0) & (both >= 0).all(1, keepdim=True)
    own, other = ((history >> bit) & 1 == both[:, player, None] for player, bit in ((0, 1), (1, 0)))  # True: C
    c, d, oc, od = (own & played, ~own & played, other & played, ~other & played)
    now, before = played[:, 1:], slice(None, -1)
    d_before, od_before = (x.cumsum(1) - x.long() > 0 for x in (d, od))
    rounds = played.sum(1)
    at = torch.arange(history.shape[1], device=history.device)
    found = {"cooperation": _rate(c, played), "first_move": _rate(c[:, :1], played[:, :1])}
    for name, mine, theirs in (("cc", c, oc), ("cd", c, od), ("dc", d, oc), ("dd", d, od)):
        found[f"after_{name}"] = _rate(c[:, 1:], (mine & theirs)[:, before] & now)
    first_blow = (d & ~od_before).any(1)
    found["nice"] = _rate(~first_blow[:, None], rounds[:, None] > 0)
    uncalled = od & ~od_before & c & ~d_before
    found["provoked"] = _rate(d[:, 1:], uncalled[:, before] & now)
    found["forgives"] = _rate(c[:, 2:], od[:, :-2] & oc[:, 1:-1] & played[:, 2:])
    once = (od[:, :1].any(1) & (od.sum(1) == 1))[:, None]
    found["unforgiving"] = _rate(d, played & (at >= 2) & once)
    found["exploits"] = _rate(d, played & ~od.any(1, keepdim=True))
    long = (rounds >= 10)[:, None]
    found["late"] = _rate(d, long & (at >= rounds[:, None] - 2) & played)
    found["middle"] = _rate(d, long & (at >= 4) & (at < 8) & played)
    met = (history == 0) | (history == 3)
    found["alternates"] = _rate(history[:, 1:] != history[:, before], met[:, 1:] & met[:, before])
    return found


def _rate(happened: Tensor, could: Tensor) -> Rate:
    return Rate((happened & could).sum(1), could.sum(1))


# ---- what wording changes --------------------------------------------------------------------------------------------


def label_bias(own: Tensor, labels: Tensor, letter: int) -> float:
    """How much a letter attracts: the mean of P(letter) where it names action 0 and where it names action 1, less 1/2. NaN without both.

    own: [B, T] actions, -1 = not played; labels: [B, 2] letters of actions 0 and 1. A player who reads the rules alone has 0.
    """
    shares = [Rate(*_taken(own, labels[:, action] == letter, action)).pooled for action in (0, 1)]
    return sum(shares) / 2 - 0.5


def order_bias(own: Tensor, order: Tensor) -> float:
    """How much the option listed first attracts: P(action 0 | listed first) less P(action 0 | listed second), halved; -1/2 .. 1/2.

    own: [B, T] actions, -1 = not played; order: [B, T] the action listed first, -1 = not known.
    """
    first, second = (_rate(own == 0, (own >= 0) & (order == action)).pooled for action in (0, 1))
    return (first - second) / 2


def framing_sensitivity(own: Tensor, framing: Tensor) -> float:
    """The largest P(action 0) in a framing less the smallest. own: [B, T] actions, -1 = not played; framing: [B]. 0: words change nothing.

    The matches of all framings must be otherwise the same.
    """
    shares = [Rate(*_taken(own, framing == story, 0)).pooled for story in set(framing.tolist())]
    return max(shares) - min(shares)


def _taken(own: Tensor, rows: Tensor, action: int) -> tuple[Tensor, Tensor]:
    return (own[rows] == action).sum(1), (own[rows] >= 0).sum(1)
