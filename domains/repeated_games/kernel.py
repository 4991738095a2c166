"""Repeated 2x2 games: both players choose at once, are paid, and see what was done; T rounds.

Against a strategy that is part of the scenario (`RepeatedGame`, one role), or two agents against each other (`CrossPlay`, two roles).
B matches, T rounds. Opponents are automata (automata.py), so a round of any mixture of them is a few look-ups. A hand that trembles plays the
other action: it is flipped before it is paid and remembered, and both players see what was played, not what was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from arena.domain import Domain, Metric, Mode, Outcome, Record, Role
from domains.repeated_games.automata import Library
from domains.repeated_games.equilibria import seen_from
from domains.repeated_games.loops import advance
from domains.repeated_games.metrics import CROSS_METRICS, METRICS, both_measured, latest, measured

SEATS = ("row", "column")
LETTERS = 26
FRAMINGS = ("abstract", "a project with a colleague", "a cooking contest", "a card game")
PARAPHRASES = 4  # wordings that an agent who is told the game in text may tell apart
MEMORY = 3  # rounds that the mode `features` shows
BLOCK = 20  # rounds that a step copies at most


@dataclass(frozen=True, slots=True)
class Matches(Record):
    """The scenario: a game, who sits where, and all luck."""

    payoffs: Tensor  # [B, 2, 2, 2] float64: [row's action, column's action, (row's points, column's points)]
    seat: Tensor  # [B] int64, the candidate's: 0 row, 1 column (0 where both are candidates)
    opponent: Tensor  # [B] int64, which of the domain's opponents (-1 where both are candidates)
    luck: Tensor  # [B, T] float64 in [0, 1): the opponent plays 0 where it lies below its probability; width 0 without opponents
    slip: Tensor  # [B, T, 2] bool: the hand of (row, column) trembles; width 0 where none ever does
    labels: Tensor  # [B, 2] int8, letters (0 = A) that name action 0 and action 1
    order: Tensor  # [B, T] int8, the action that a text lists first in this round
    framing: Tensor  # [B] int8, index into FRAMINGS
    paraphrase: Tensor  # [B] int8, 0 .. PARAPHRASES - 1


@dataclass(frozen=True, slots=True)
class Match(Record):
    """The state: what was played, and where the opponent's automaton stands. One byte per round; rounds long past are shared, not copied."""

    t: int  # rounds finished
    blocks: Mapping[int, Tensor]  # the history, BLOCK rounds each [B, up to BLOCK] int8
    machine: Tensor  # [B] int64, state of the opponent's automaton in the library; width 0 without opponents
    totals: Tensor  # [B, 2] float64, points so far: (own, other's) of the candidate; of (row, column) where both are

    @property
    def history(self) -> Tensor:
        """[B, T] int8, 2 * row's action + column's action; -1 = not played yet."""
        return self.blocks[0] if len(self.blocks) == 1 else torch.cat(list(self.blocks.values()), 1)


class _Rounds(Domain):
    """What both worlds share: the history, how a player sees it, payment."""

    name = "repeated_games"
    version = 1
    ends_early = False

    def __init__(self, rounds: int) -> None:
        if type(rounds) is not int or rounds < 1:
            raise ValueError(f"{rounds!r} rounds: a match has at least one; give a whole number from 1 on")
        self.horizon = rounds
        self.sampler: Callable[[Sequence[int]], Matches] | None = None

    def sample(self, seeds: Sequence[int]) -> Matches:
        """One match per seed, of those that the task is made of (a task says which: `Task.sample`)."""
        return self.sampler(seeds) if self.sampler else super().sample(seeds)

    def _seen(self) -> spaces.Dict:
        rounds, code = self.horizon, spaces.Box(-1, 1, (self.horizon,), np.int8)
        whole = spaces.Box(0, rounds, (), np.int64)
        return spaces.Dict(
            {
                "own": code,
                "other": code,
                "round": whole,
                "rounds": whole,
                "payoffs": spaces.Box(-np.inf, np.inf, (2, 2, 2), np.float64),
                "labels": spaces.Box(0, LETTERS - 1, (2,), np.int8),
                "order": spaces.Box(0, 1, (), np.int8),
                "framing": spaces.Box(0, len(FRAMINGS) - 1, (), np.int8),
                "paraphrase": spaces.Box(0, PARAPHRASES - 1, (), np.int8),
                "seat": spaces.Box(0, 1, (), np.int8),
            }
        )

    def view(self, scenario: Matches, state: Match, seat: Tensor) -> dict[str, Tensor]:
        """{name: [B, ...]} what the player in `seat` [B] sees: the rules, the rounds that are over, nothing of this one."""
        history = state.history
        row, column = history >> 1, torch.where(history < 0, history, history & 1)  # -1 >> 1 is -1
        first = seat[:, None] == 0
        return {
            "own": torch.where(first, row, column),
            "other": torch.where(first, column, row),
            "round": torch.full_like(seat, state.t),
            "rounds": torch.full_like(seat, self.horizon),
            "payoffs": seen_from(scenario.payoffs, seat),
            "labels": scenario.labels,
            "order": scenario.order[:, min(state.t, self.horizon - 1)],
            "framing": scenario.framing,
            "paraphrase": scenario.paraphrase,
            "seat": seat.to(torch.int8),
        }

    def features(self, scenario: Matches, state: Match, seat: Tensor) -> dict[str, Tensor]:
        """{"features": [B, 22] float32}, label-free: one-hot of 2 * own + other's action for the last three rounds (latest first), t/T, whether T is
        known, own and the other's payoffs over the largest absolute one."""
        played = torch.zeros(len(seat), MEMORY, 4, device=seat.device)
        for back in range(min(MEMORY, state.t)):
            block, place = divmod(state.t - 1 - back, BLOCK)
            code = state.blocks[block][:, place].long()
            code = torch.where(seat == 0, code, 2 * (code & 1) + (code >> 1))
            played[:, back].scatter_(1, code[:, None], 1.0)
        clock = torch.tensor([state.t / self.horizon, 1.0], device=seat.device).expand(len(seat), 2)
        payoffs = seen_from(scenario.payoffs, seat).movedim(-1, 1).flatten(1)
        payoffs = payoffs / payoffs.abs().amax(1, keepdim=True).clamp(min=1e-300)
        return {"features": torch.cat((played.flatten(1), clock, payoffs.float()), 1)}

    def _modes(self, observe: Callable[[Any, Any], Any]) -> tuple[Mode, ...]:
        width = 4 * MEMORY + 2 + 8
        features = spaces.Dict({"features": spaces.Box(-1.0, 1.0, (width,), np.float32)})
        return (Mode("history", self._seen(), spaces.Discrete(2)), Mode("features", features, spaces.Discrete(2), observe=observe))

    def _blank(self, rows: int, device: torch.device) -> dict[int, Tensor]:
        """The history before the first round."""
        widths = [min(BLOCK, self.horizon - start) for start in range(0, self.horizon, BLOCK)]
        empty = torch.full((rows, widths[0]), -1, dtype=torch.int8, device=device)
        return {block: empty[:, :width] for block, width in enumerate(widths)}

    def _after(self, scenario: Matches, state: Match, joint: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        """The history with the joint action [B] int8 of this round, and the points [B, 2] of (row, column)."""
        block, place = divmod(state.t, BLOCK)
        record = state.blocks[block].clone()
        record[:, place] = joint
        points = scenario.payoffs.view(-1, 4, 2).gather(1, joint.long().view(-1, 1, 1).expand(-1, 1, 2))[:, 0]
        return {**state.blocks, block: record}, points

    def _slipped(self, scenario: Matches, t: int, seat: Tensor | int, action: Tensor) -> Tensor:
        """[B] what the hand of `seat` does."""
        if not scenario.slip.shape[1]:
            return action
        slip = scenario.slip[:, t]
        return action ^ (slip[:, seat] if isinstance(seat, int) else slip.gather(1, seat[:, None])[:, 0]).to(action.dtype)

    def _fits(self, action: Tensor, state: Match, player: str) -> None:
        """Raises ValueError unless there is one integer per match."""
        rows = len(state.totals)
        if tuple(action.shape) != (rows,) or action.dtype.is_floating_point or action.dtype == torch.bool:
            found = f"{action.dtype} {tuple(action.shape)}"
            raise ValueError(f"round {state.t + 1}, {player}: actions must be {rows} integers, one per match; got {found}")

    def _checked(self, action: Tensor, state: Match, player: str, seat: Tensor | None = None) -> Tensor:
        """[B] int8. Raises ValueError for what is no action 0 or 1; seat: [B] the player's, where it differs from match to match."""
        self._fits(action, state, player)
        low, high = torch.aminmax(action)
        if low.item() < 0 or high.item() > 1:
            row = int(((action < 0) | (action > 1)).nonzero()[0])
            player += "" if seat is None else f" in the {SEATS[int(seat[row])]} seat"
            raise ValueError(f"round {state.t + 1}, {player}: action[{row}] = {int(action[row])}, allowed are 0 and 1")
        return action.to(torch.int8)

    def _over(self, t: int, rows: Tensor) -> Tensor:
        return torch.full((len(rows),), t >= self.horizon, dtype=torch.bool, device=rows.device)


class RepeatedGame(_Rounds):
    """Earn the most points in a repeated 2x2 game against a strategy that is part of the scenario.

    rounds: T, known to both; opponents: the library that `Matches.opponent` counts into
    """

    objectives = ("own", "other")
    metrics_spec: tuple[Metric, ...] = METRICS

    def __init__(self, rounds: int, opponents: Library) -> None:
        super().__init__(rounds)
        self.opponents = opponents
        self._placed, self._tables = {"cpu": opponents}, (opponents.play.numpy(), opponents.after.numpy())
        self.roles = (Role("player", self._modes(lambda scenario, state: self.features(scenario, state, scenario.seat))),)

    def reset(self, scenario: Matches) -> Match:
        rows, device = len(scenario.seat), scenario.seat.device
        machine = self._library(device).start[scenario.opponent]
        return Match(0, self._blank(rows, device), machine, scenario.payoffs.new_zeros(rows, 2))

    def observe(self, scenario: Matches, state: Match) -> dict[str, Tensor]:
        return self.view(scenario, state, scenario.seat)

    def step(self, scenario: Matches, state: Match, action: Tensor) -> tuple[Match, Outcome]:
        """One round. Raises ValueError naming round, match and value for an action that is not 0 or 1."""
        return (self._compiled_step if action.device.type == "cpu" else self._step)(scenario, state, action)

    def _step(self, scenario: Matches, state: Match, action: Tensor) -> tuple[Match, Outcome]:
        t, seat, library = state.t, scenario.seat, self._library(scenario.seat.device)
        own = self._slipped(scenario, t, seat, self._checked(action, state, "player", seat))
        other = (scenario.luck[:, t] >= library.play[state.machine]).to(torch.int8)
        other = self._slipped(scenario, t, 1 - seat, other)
        machine = library.after[4 * state.machine + (2 * other + own)].long()  # the opponent's own action stands first
        weight = seat.to(torch.int8) + 1  # 1 in the row seat, 2 in the column seat
        history, points = self._after(scenario, state, own * (3 - weight) + other * weight)
        reward = points.gather(1, torch.stack((seat, 1 - seat), 1))
        return self._outcome(Match(t + 1, history, machine, state.totals + reward), reward)

    def _compiled_step(self, scenario: Matches, state: Match, action: Tensor) -> tuple[Match, Outcome]:
        """`_step` in one call (loops.py)."""
        self._fits(action, state, "player")
        block, place = divmod(state.t, BLOCK)
        slip = scenario.slip[:, state.t] if scenario.slip.shape[1] else scenario.slip.new_empty(0, 2)
        given = (action.long(), scenario.seat, scenario.luck[:, state.t], slip, scenario.payoffs.view(-1, 4, 2))
        held = (state.blocks[block], state.machine, state.totals)
        found = advance(place, *self._tables, *(tensor.contiguous().numpy() for tensor in (*given, *held)))
        if found is None:
            self._checked(action, state, "player", scenario.seat)  # raises: says which action of which match
        reward, record, machine, totals = map(torch.from_numpy, found)
        return self._outcome(Match(state.t + 1, {**state.blocks, block: record}, machine, totals), reward)

    def _outcome(self, after: Match, reward: Tensor) -> tuple[Match, Outcome]:
        return after, Outcome(reward, reward.new_empty(len(reward), 0), self._over(after.t, reward))

    def metrics(self, scenario: Matches, state: Match) -> dict[str, Tensor]:
        """See metrics.METRICS."""
        seen = self.view(scenario, state, scenario.seat)
        return measured(seen["payoffs"], seen["own"], seen["other"], state.totals)

    def shown(self, scenario: Matches, state: Match) -> dict[str, Any]:
        return latest(self.view(scenario, state, scenario.seat), state.totals, ("own", "other"))

    def _library(self, device: torch.device) -> Library:
        """The opponents' tables on a device, one copy each."""
        name = str(device)
        if name not in self._placed:
            self._placed[name] = self.opponents.to(device)
        return self._placed[name]


class CrossPlay(_Rounds):
    """Two agents play a repeated 2x2 game against each other; nobody wins, both are paid.

    gap: what separates 1 from 0 in the scores of (row, column), in points (references.py)
    """

    objectives = ("own", "other")
    metrics_spec: tuple[Metric, ...] = CROSS_METRICS

    def __init__(self, rounds: int, gap: tuple[float, float]) -> None:
        super().__init__(rounds)
        self.gap = gap
        self.roles = tuple(Role(name, self._modes(self._nested(seat))) for seat, name in enumerate(SEATS))

    def _nested(self, seat: int) -> Callable[[Any, Any], dict[str, Tensor]]:
        return lambda scenario, state: _with_seats(self.features(scenario, state, torch.full_like(scenario.seat, seat)))

    def reset(self, scenario: Matches) -> Match:
        rows = len(scenario.seat)
        return Match(0, self._blank(rows, scenario.seat.device), scenario.seat.new_empty(rows, 0), scenario.payoffs.new_zeros(rows, 2))

    def observe(self, scenario: Matches, state: Match) -> dict[str, dict[str, Tensor]]:
        return {role.name: _with_seats(self.view(scenario, state, torch.full_like(scenario.seat, seat))) for seat, role in enumerate(self.roles)}

    def step(self, scenario: Matches, state: Match, actions: Mapping[str, Tensor]) -> tuple[Match, Outcome]:
        """One round of {"row": [B, 1], "column": [B, 1]}. Raises ValueError as `RepeatedGame.step`."""
        row, column = (
            self._slipped(scenario, state.t, seat, self._checked(actions[role.name][:, 0], state, role.name)) for seat, role in enumerate(self.roles)
        )
        history, points = self._after(scenario, state, 2 * row + column)
        after = Match(state.t + 1, history, state.machine, state.totals + points)
        reward = {"row": points[:, None], "column": points.flip(1)[:, None]}
        return after, Outcome(reward, points.new_empty(len(points), 0), self._over(state.t + 1, points))

    def metrics(self, scenario: Matches, state: Match) -> dict[str, Tensor]:
        """See metrics.CROSS_METRICS."""
        return both_measured(scenario.payoffs, self.horizon, state.totals, self.gap)

    def shown(self, scenario: Matches, state: Match) -> dict[str, Any]:
        return latest(self.view(scenario, state, scenario.payoffs.new_zeros(1, dtype=torch.int64)), state.totals, ("row", "column"))


def _with_seats(seen: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor[:, None] for name, tensor in seen.items()}
