"""The strategies: the classics of the iterated prisoner's dilemma, and players of any 2x2 game. Opponents of the tasks, and agents.

Action 0 cooperates (C), action 1 defects (D). Memory-one strategies are told as (first; after CC, CD, DC, DD), own action first, each the
probability of C. "The opponent" is the other player. Every deterministic rule that Axelrod-Python 4.14.0 has plays move by move as there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from arena.errors import ArenaError, unknown
from arena.making import validated
from domains.repeated_games.automata import Library, Strategy, Table, tabulate
from domains.repeated_games.equilibria import bargaining_cell, commitment, efficient_cell, equilibrium, punishment, security

C, D = 0, 1
PUNISHED = 2  # rounds for which the reciprocator punishes
Points = tuple[tuple[float, float], tuple[float, float]]  # [own action][other's action]


@dataclass(frozen=True)
class View:
    """A game as one of its players sees it, with what the strategies want to know of it (equilibria.py).

    own, other: points; maximin, nash: own probability of action 0; bully, punish: own actions; pact, efficient: cells 2 * own + other's action
    """

    own: Points
    other: Points
    maximin: float
    nash: float
    bully: int
    punish: int
    pact: int
    efficient: int


def views(payoffs: Tensor) -> list[View]:
    """One view per game [G, 2, 2, 2] of the player whose actions come first."""
    facts = (
        security(payoffs[..., 0])[1], equilibrium(payoffs)[..., 0], commitment(payoffs), punishment(payoffs), bargaining_cell(payoffs),
        efficient_cell(payoffs),
    )  # fmt: skip
    columns = [fact.tolist() for fact in facts]
    own, other = ([tuple(map(tuple, game)) for game in payoffs[..., player].tolist()] for player in (0, 1))
    return [View(*row) for row in zip(own, other, *columns, strict=True)]


Rule = Callable[..., Strategy]  # (view, rounds, **parameters)


# ---- memory-one --------------------------------------------------------------------------------------------------------


def memory_one(view: View, rounds: int, first: float = 1.0, vector: Sequence[float] = (1.0, 0.0, 1.0, 0.0)) -> Strategy:
    """(first; vector): C with these probabilities. Raises ArenaError `strategy.memory_one` unless they are four and one probabilities."""
    if len(vector) != 4:
        hint = "give four: of C after CC, CD, DC, DD, own action first"
        raise ArenaError("strategy.memory_one", f"{len(vector)} probabilities {list(vector)}", hint)
    wrong = [p for p in (first, *vector) if not 0 <= p <= 1]
    if wrong:
        raise ArenaError("strategy.memory_one", f"{wrong[0]!r} is no probability", "probabilities lie between 0 and 1")
    chances = (*vector, first)
    return Strategy(4, chances.__getitem__, lambda state, own, other: 2 * own + other)


def _fixed(first: float, *vector: float) -> Rule:
    return lambda view, rounds: memory_one(view, rounds, first, vector)


def dilemma(view: View) -> tuple[float, float, float, float]:
    """(R, S, T, P) of a prisoner's dilemma. Raises ArenaError `game.dilemma` for any other game."""
    (r, s), (t, p) = view.own
    if not (t > r > p > s and view.other == ((r, t), (s, p))):
        raise ArenaError("game.dilemma", f"payoffs {view.own} are no prisoner's dilemma", "this strategy is defined by T > R > P > S")
    return r, s, t, p


def gtft(view: View, rounds: int) -> Strategy:
    """Generous tit for tat: forgives as often as it can without inviting exploitation (Nowak and Sigmund, Nature 355, 1992)."""
    r, s, t, p = dilemma(view)
    q = min(1 - (t - r) / (r - s), (r - p) / (t - p))
    return memory_one(view, rounds, 1.0, (1.0, q, 1.0, q))


def zd_extort(view: View, rounds: int, chi: float = 2.0, phi: float | None = None) -> Strategy:
    """Extortion: own surplus over P is `chi` times the opponent's in the long run (Press and Dyson, PNAS 109, 2012, eq. 14). Opens C.

    phi: the scale, by default half of the largest there is. Raises ArenaError `strategy.extortion` outside the feasible range.
    """
    r, s, t, p = dilemma(view)
    if not 1 <= chi < math.inf:
        raise ArenaError("strategy.extortion", f"chi = {chi:g}", "chi is a number of at least 1")
    slopes = ((chi - 1) * (r - p) / (p - s), 1 + chi * (t - p) / (p - s), chi + (t - p) / (p - s))
    most = 1 / max(slopes)
    phi = most / 2 if phi is None else phi
    if not 0 < phi <= most:
        raise ArenaError("strategy.extortion", f"phi = {phi:g} is infeasible", f"with chi = {chi:g} this game allows 0 < phi <= {most:g}")
    return memory_one(view, rounds, 1.0, (1 - phi * slopes[0], max(0.0, 1 - phi * slopes[1]), min(1.0, phi * slopes[2]), 0.0))


# ---- longer memories ---------------------------------------------------------------------------------------------------


def _grim(view: View, rounds: int) -> Strategy:
    return Strategy(C, lambda state: 1.0 - state, lambda state, own, other: state | other)


def _tf2t(view: View, rounds: int) -> Strategy:
    """D after two defections in a row."""
    return Strategy(0, lambda run: float(run < 2), lambda run, own, other: min(run + 1, 2) if other else 0)


def _retaliator(memory: int, first: int, view: View, rounds: int) -> Strategy:
    """D while any of the opponent's last `memory` actions was D; `first` opens."""
    start = -1 if first else 0
    return Strategy(start, lambda left: float(left == 0), lambda left, own, other: memory if other else max(left - 1, 0))


def _majority(tie: float, view: View, rounds: int) -> Strategy:
    """What the opponent did more often; `tie`: the probability of C where it did both alike."""
    return Strategy(0, lambda lead: tie if lead == 0 else float(lead > 0), lambda lead, own, other: lead - 1 if other else lead + 1)


def _once(at: int, view: View, rounds: int) -> Strategy:
    """D in round `at` (counted from 0, from the end where negative), else C."""
    when = at % rounds
    return Strategy(0, lambda t: float(t != when), lambda t, own, other: t + 1)


def naive_prober(view: View, rounds: int, p: float = 0.1) -> Strategy:
    """Tit for tat that defects with probability p where it would cooperate, but not at once. Raises ArenaError `strategy.memory_one`."""
    if not 0 <= p <= 1:
        raise ArenaError("strategy.memory_one", f"p = {p!r} is no probability", "probabilities lie between 0 and 1")
    return memory_one(view, rounds, 1.0, (1 - p, 0.0, 1 - p, 0.0))


def _contrite(view: View, rounds: int) -> Strategy:
    """Tit for tat that knows when its own hand trembled, and takes the answer without striking back (Sugden 1986)."""

    def after(state: tuple[bool, int], own: int, other: int) -> tuple[bool, int]:
        contrite, meant = state
        if contrite and own == C:
            return False, C
        return contrite or (meant != own and own == D and other == C), other

    return Strategy((False, C), lambda state: 1.0 - state[1], after)


def _gradual(view: View, rounds: int) -> Strategy:
    """Answers a defection with as many as there were so far, then two rounds of C (Beaufils, Delahaye and Mathieu 1997; CRISTAL-SMAC 2018)."""

    def after(state: tuple[int, int, int, int], own: int, other: int) -> tuple[int, int, int, int]:
        _, punish, calm, defections = state
        defections += other
        if punish:
            return D, punish - 1, calm, defections
        if calm:
            return C, 0, calm - 1, defections
        return (D, defections - 1, 2, defections) if other else (C, 0, 0, defections)

    return Strategy((C, 0, 0, 0), lambda state: 1.0 - state[0], after)


def _adaptive(view: View, rounds: int) -> Strategy:
    """Six C, five D, then the action that has earned more points so far; ties to D (Li, Hingston and Kendall 2011)."""

    def play(state: tuple[int, float]) -> float:
        t, lead = state
        return float(t < 6 or (t >= 11 and lead > 0))

    def after(state: tuple[int, float], own: int, other: int) -> tuple[int, float]:
        points = view.own[own][other]
        return min(state[0] + 1, 11), state[1] + (points if own == C else -points)

    return Strategy((0, 0.0), play, after)


def _prober(view: View, rounds: int) -> Strategy:
    """D, C, C; then D for ever if the opponent cooperated in rounds 2 and 3, else tit for tat."""

    def after(state: tuple[int, bool, int], own: int, other: int) -> tuple[int, bool, int]:
        t, fooled, _ = state
        fooled = fooled and (t not in (1, 2) or other == C)
        return min(t + 1, 3), fooled, other

    def play(state: tuple[int, bool, int]) -> float:
        t, fooled, last = state
        return float(t in (1, 2)) if t < 3 else float(not fooled and last == C)

    return Strategy((0, True, C), play, after)


def _tullock(view: View, rounds: int) -> Strategy:
    """C for eleven rounds, then a tenth less often than the opponent in the last ten (Axelrod's first tournament, 1980)."""

    def play(state: tuple[int, int]) -> float:
        return 1.0 if state[0] < 11 else max(0.0, (10 - state[1].bit_count()) / 10 - 0.1)

    return Strategy((0, 0), play, lambda state, own, other: (min(state[0] + 1, 11), (2 * state[1] + other) % 1024))


# ---- players of any game -----------------------------------------------------------------------------------------------


def _constant(chance: Callable[[View], float], view: View, rounds: int) -> Strategy:
    p = chance(view)
    return Strategy(0, lambda state: p, lambda state, own, other: 0)


def _reply(own: Points, zeros: float, ones: float) -> float:
    """1 where action 0 earns no less against a mixture in proportion zeros : ones, else 0."""
    return float(own[0][0] * zeros + own[0][1] * ones >= own[1][0] * zeros + own[1][1] * ones)


def _myopic(view: View, rounds: int) -> Strategy:
    """The best reply to the last action; at first to both alike."""
    return Strategy(2, lambda last: _reply(view.own, *((1, 0), (0, 1), (1, 1))[last]), lambda last, own, other: other)


def _fictitious(view: View, rounds: int) -> Strategy:
    """The best reply to how often each action was seen, counted from 1 (Brown 1951)."""
    return Strategy((1, 1), lambda seen: _reply(view.own, *seen), lambda seen, own, other: (seen[0] + 1 - other, seen[1] + other))


def _hedge(view: View, rounds: int) -> Strategy:
    """Weights exp(eta * what each action would have earned), eta = sqrt(8 ln 2 / T) / range (Cesa-Bianchi and Lugosi 2006, theorem 2.2)."""
    points = [points for row in view.own for points in row]
    spread = max(points) - min(points)
    eta = math.sqrt(8 * math.log(2) / rounds) / spread if spread else 0.0

    def play(seen: tuple[int, int]) -> float:
        lead = seen[0] * (view.own[1][0] - view.own[0][0]) + seen[1] * (view.own[1][1] - view.own[0][1])
        return 1 / (1 + math.exp(eta * lead))

    return Strategy((0, 0), play, lambda seen, own, other: (seen[0] + 1 - other, seen[1] + other))


def _trigger(cell: Callable[[View], int], length: int, view: View, rounds: int) -> Strategy:
    """Its part of a cell; after the opponent left its own part, `length` rounds of the punishing action (0: for ever)."""
    mine, theirs = divmod(cell(view), 2)

    def after(left: int, own: int, other: int) -> int:
        if left:
            return left - 1 if length else left
        return 0 if other == theirs else (length or 1)

    return Strategy(0, lambda left: 1.0 - (view.punish if left else mine), after)


RULES: dict[str, Rule] = {
    "allc": _fixed(1, 1, 1, 1, 1),
    "alld": _fixed(0, 0, 0, 0, 0),
    "random": _fixed(0.5, 0.5, 0.5, 0.5, 0.5),
    "alternator": _fixed(1, 0, 0, 1, 1),  # from what it did last, trembles included
    "alternator-d": _fixed(0, 0, 0, 1, 1),
    "tft": _fixed(1, 1, 0, 1, 0),
    "stft": _fixed(0, 1, 0, 1, 0),
    "gtft": gtft,
    "wsls": _fixed(1, 1, 0, 0, 1),
    "reverse-tft": _fixed(0, 0, 1, 0, 1),
    "joss": _fixed(1, 0.9, 0, 0.9, 0),
    "grim": _grim,
    "tf2t": _tf2t,
    "2tft": partial(_retaliator, 2, C),
    "hard-tft": partial(_retaliator, 3, C),
    "soft-majority": partial(_majority, 1.0),
    "hard-majority": partial(_majority, 0.0),
    "defect-once": partial(_once, 0),
    "defect-last": partial(_once, -1),
    "naive-prober-0.1": naive_prober,
    "naive-prober-0.2": partial(naive_prober, p=0.2),
    "contrite-tft": _contrite,
    "gradual": _gradual,
    "adaptive": _adaptive,
    "prober": _prober,
    "tullock": _tullock,
    "firm-but-fair": _fixed(1, 1, 0, 1, 2 / 3),
    "zd-extort-2": zd_extort,
    "zd-gtft-2": _fixed(1, 1, 1 / 8, 1, 1 / 4),
    "equalizer": _fixed(1, 3 / 4, 1 / 4, 1 / 2, 1 / 4),
    "released-htft": partial(_retaliator, 3, D),  # hard tit for tat as the code of Akata et al. plays it: it opens with D
    "maximin": partial(_constant, lambda view: view.maximin),
    "myopic": _myopic,
    "fictitious-play": _fictitious,
    "nash": partial(_constant, lambda view: view.nash),
    "reciprocator": partial(_trigger, lambda view: view.pact, PUNISHED),
    "bully": partial(_constant, lambda view: 1.0 - view.bully),
    "hedge": _hedge,
    "grim-efficient": partial(_trigger, lambda view: view.efficient, 0),
    "memory-one": memory_one,
}
CLASSICS = tuple(RULES)[:30]  # the field of Axelrod's game
ANY_GAME = (
    "allc", "alld", "random", "alternator", "maximin", "myopic", "fictitious-play", "nash", "reciprocator", "bully", "hedge", "grim-efficient",
)  # fmt: skip


def table(name: str, view: View, rounds: int, **parameters: Any) -> Table:
    """The automaton of a strategy in a game. Raises ArenaError for a name nobody knows and for parameters the rule refuses."""
    if name not in RULES:
        raise unknown("strategy", name, RULES)
    return tabulate(RULES[name](view, rounds, **parameters), rounds)


def allowed(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a rule as it takes them. Raises ArenaError `agent.parameters` for names it has not and values of another type."""
    if not parameters:
        return {}
    found = validated(partial(RULES[name], None, 1), parameters, name)  # game and rounds are no parameters
    return {key: found[key] for key in parameters}


def library(cells: Iterable[tuple[str, Tensor]], rounds: int) -> Library:
    """One automaton per (strategy, payoffs [2, 2, 2] from the strategy's own view), in this order."""
    listed = list(cells)
    seen = views(torch.stack([payoffs for _, payoffs in listed]))
    return Library.of([name for name, _ in listed], [table(name, view, rounds) for (name, _), view in zip(listed, seen, strict=True)])
