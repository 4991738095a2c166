"""The episode loop: one batch of scenarios, one line-up of agents, recorded actions. Also its inverse, the replay."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from arena.agent import Agent, Brief
from arena.domain import Domain, Mode
from arena.errors import ArenaError
from arena.legality import Illegal, judge
from arena.record import Record
from arena.task import TaskView

BINS = 64  # of the decision-time histogram: bin k holds decisions of 2^k .. 2^(k+1) ns
DETAIL = 2000  # bytes kept of a failure's story


@dataclass(frozen=True)
class Failure:
    """Why one scenario of one role ended: `row` within the batch, `step` of the kernel."""

    role: str
    row: int
    step: int
    code: str
    detail: str


@dataclass
class Timing:
    """Decision time of one role over a batch: a call that serves b live rows counts as b decisions."""

    hist: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    nanoseconds: int = 0
    decisions: int = 0

    def add(self, elapsed: int, live: int) -> None:
        self.nanoseconds += elapsed
        self.decisions += live
        if live:
            self.hist[min(BINS - 1, max(0, (elapsed // live).bit_length() - 1))] += live


@dataclass(frozen=True)
class Player:
    """An agent in a role, in the mode it named."""

    agent: Agent
    role: str
    mode: Mode


@dataclass(frozen=True)
class Episode:
    """What a batch of scenarios came to.

    metrics: name -> [B] or [B, S] float64; actions: role -> kernel actions [times acted, B, ...] in the smallest dtype that holds them
    failures: at most one per role and row; timings: role -> Timing
    """

    metrics: dict[str, NDArray[np.float64]]
    actions: dict[str, NDArray[Any]]
    failures: list[Failure]
    timings: dict[str, Timing]


def players(domain: Domain, agents: Mapping[str, Agent]) -> dict[str, Player]:
    """Seat an agent in each role. Raises ArenaError `agent.incompatible` for a role left empty or a mode that does not exist."""
    seated = {}
    for role in domain.roles:
        if role.name not in agents:
            raise ArenaError("agent.incompatible", f"nobody plays {role.name!r} of {domain.name}", f"give an agent for {role.name}=...")
        agent = agents[role.name]
        wanted = agent.mode
        try:
            mode = role.mode(wanted)
        except KeyError as error:
            raise ArenaError("agent.incompatible", f"{type(agent).__name__}: {error.args[0]}", "set the agent's `mode` to one of these") from error
        seated[role.name] = Player(agent, role.name, mode)
    return seated


@torch.no_grad()
def rollout(
    domain: Domain,
    scenario: Any,
    lineup: Mapping[str, Player],
    *,
    task: TaskView,
    ids: Tensor,
    seed: int = 0,
    device: torch.device | str = "cpu",
    record: bool = True,
    watch: Callable[[int], None] | None = None,
) -> Episode:
    """Play every scenario of a batch to its end.

    ids: [B] scenario ids (the key of the agents' own luck); watch: called with the step, now and then
    An exception in an agent fails all rows still running; an illegal action fails its row; the others go on.
    """
    place = torch.device(device)
    scenario = scenario.to(place)
    ids = ids.to(place)
    game = _Game(domain, scenario, lineup, len(ids), place)
    for player in lineup.values():
        space = player.mode
        horizon = -(-domain.horizon // space.steps)
        brief = Brief(task, player.role, space.name, space.observation_space, space.action_space, horizon, ids, place, seed)
        game.guarded(player, 0, lambda player=player, brief=brief: player.agent.begin(brief))  # type: ignore[misc]
    state = domain.reset(scenario)
    for step in range(domain.horizon):
        if not game.running:
            break
        state = game.step(state, step)
        if watch is not None and step % 64 == 0:
            watch(step)
    for player in lineup.values():
        game.guarded(player, domain.horizon, player.agent.end)
    metrics = {name: value.double().numpy(force=True) for name, value in domain.metrics(scenario, state).items()}
    actions = {role: _compact(moves, domain.role(role).modes[0].action_space) for role, moves in game.moves.items()} if record else {}
    return Episode(metrics, actions, game.failures, game.timings)


class _Game:
    """The moving parts of one rollout: who is live, what is held, what was done."""

    def __init__(self, domain: Domain, scenario: Any, lineup: Mapping[str, Player], rows: int, device: torch.device) -> None:
        self.domain, self.scenario, self.lineup = domain, scenario, lineup
        self.live = torch.ones(rows, dtype=torch.bool, device=device)
        self.modes = {name: player.mode for name, player in lineup.items()}
        self.acted = dict.fromkeys(lineup, 0)  # kernel steps at which the role acted
        self.held: dict[str, Tensor] = {}
        self.moves: dict[str, list[Tensor]] = {name: [] for name in lineup}
        self.failures: list[Failure] = []
        self.timings = {name: Timing() for name in lineup}
        self.count = rows
        self.crashed = False

    @property
    def running(self) -> bool:
        return self.count > 0

    def step(self, state: Any, step: int) -> Any:
        deciding = any(self.acted[name] % mode.steps == 0 for name, mode in self.modes.items())
        if deciding or not self.domain.single:
            views = self.domain.views(self.scenario, state, self.modes)
        else:
            views = dict.fromkeys(self.lineup)  # type: ignore[arg-type]
        actions = {}
        for name, view in views.items():
            player = self.lineup[name]
            if self.acted[name] % player.mode.steps == 0:
                self.held[name] = self.decide(player, dict(view), step)
            self.acted[name] += 1
            expand = player.mode.expand
            move = self.held[name] if expand is None else expand(self.scenario, state, self.held[name])
            actions[name] = move
            self.moves[name].append(move)
        after, outcome = self.domain.advance(self.scenario, state, actions)
        if self.domain.ends_early:
            self.live = self.live & ~outcome.terminated
            self.count = int(self.live.sum())
        return after

    def decide(self, player: Player, view: dict[str, Tensor], step: int) -> Tensor:
        """Ask the agent; judge the answer; fail the rows it has lost."""
        role = self.domain.role(player.role)
        space = player.mode.action_space
        lead = (len(self.live),) if role.seats == 1 and self.domain.single else tuple(next(iter(view.values())).shape[:2])
        mask = None if role.advisory else view.get("action_mask")
        fill = self.fill(player, view, lead)
        if not self.running:
            return fill
        view["live"] = self.live
        timing, start = self.timings[player.role], perf_counter_ns()
        answer = self.guarded(player, step, lambda: player.agent.act(view))
        timing.add(perf_counter_ns() - start, self.count)
        if not self.running:
            return fill
        try:
            action, wrong = judge(answer, space, lead, mask, self.live)
        except Illegal as error:
            self.fail(player.role, step, "agent.illegal", str(error), self.live.nonzero()[:, 0].tolist())
            return fill
        action = action.to(fill.device, fill.dtype)
        for row, reason in wrong.items():
            self.fail(player.role, step, "agent.illegal", reason, [row])
        if len(self.live) == self.count:
            return action
        keep = self.live.view(-1, *[1] * (action.dim() - 1))
        return torch.where(keep, action, fill)

    def fill(self, player: Player, view: dict[str, Tensor], lead: tuple[int, ...]) -> Tensor:
        """What is played in rows that no agent plays any more."""
        space = player.mode.action_space
        if player.mode.expand is None and "action_mask" in view:
            return self.domain.idle(player.role, view)
        low = np.clip(0, space.low, space.high) if isinstance(space, spaces.Box) else np.asarray(getattr(space, "start", 0))
        value = torch.as_tensor(np.asarray(low, space.dtype), device=self.live.device)
        return value.expand(*lead, *(space.shape or ())).contiguous()

    def guarded(self, player: Player, step: int, call: Callable[[], Any]) -> Any:
        """The agent's code, whose exceptions are its own failure."""
        if self.crashed:
            return None
        try:
            return call()
        except Exception as error:
            story = f"{type(error).__name__}: {error}\n{traceback.format_exc()[-DETAIL:]}"
            self.fail(player.role, step, "agent.crash", story, self.live.nonzero()[:, 0].tolist())
            self.crashed = True
            return None

    def fail(self, role: str, step: int, code: str, detail: str, rows: list[int]) -> None:
        self.failures += [Failure(role, row, step, code, detail[:DETAIL]) for row in rows]
        live = self.live.clone()
        live[rows] = False
        self.live, self.count = live, self.count - len(rows)


def _compact(moves: list[Tensor], space: Any) -> NDArray[Any]:
    """Kernel actions [T, B, ...], integers in the smallest dtype that holds the whole space."""
    if not moves:
        return np.zeros((0, 0), np.int8)
    stacked = torch.stack(moves).numpy(force=True)
    if isinstance(space, spaces.Discrete):
        return stacked.astype(np.min_scalar_type(-max(1, int(space.start + space.n))), copy=False)
    return stacked.astype(space.dtype, copy=False)


@torch.no_grad()
def replay(domain: Domain, scenario: Any, actions: Mapping[str, NDArray[Any]], device: torch.device | str = "cpu") -> dict[str, NDArray[np.float64]]:
    """Metrics from scenario and recorded actions alone; no agent is asked.

    Raises ArenaError `verify.actions` where the record is too short or holds what the kernel refuses.
    """
    scenario = scenario.to(device)
    for _, state in states(domain, scenario, actions, device):
        pass
    return {name: value.double().numpy(force=True) for name, value in domain.metrics(scenario, state).items()}


def states(domain: Domain, scenario: Any, actions: Mapping[str, NDArray[Any]], device: torch.device | str = "cpu") -> Any:
    """Every (step, state) of a recorded episode, the first state included."""
    record = {name: torch.from_numpy(np.ascontiguousarray(moves)).to(device) for name, moves in actions.items()}
    used = dict.fromkeys(record, 0)
    length = max((len(moves) for moves in record.values()), default=0)
    state: Any = domain.reset(scenario)
    yield 0, state
    for step in range(min(domain.horizon, length) if domain.single else domain.horizon):
        names = [domain.roles[0].name] if domain.single else list(domain.observe(scenario, state))
        if any(used[name] >= len(record[name]) for name in names):
            return
        moves = {}
        for name in names:
            moves[name] = record[name][used[name]]
            used[name] += 1
        try:
            state, _ = domain.advance(scenario, state, moves)
        except ValueError as error:
            raise ArenaError("verify.actions", f"step {step}: {error}", "the recording was altered", step=step) from error
        yield step + 1, state


def batch(record: Record, rows: slice) -> Record:
    """Rows of a record with each series contiguous again in its own memory order."""
    return record[rows].map(lambda tensor: tensor.T.contiguous().T if tensor.dim() == 2 and tensor.stride(0) == 1 else tensor.contiguous())
