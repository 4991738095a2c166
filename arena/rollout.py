"""The episode loop: one batch of scenarios, one line-up of agents, recorded actions. Also its inverse, the replay."""

from __future__ import annotations

import math
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter_ns
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arena.agent import Agent, Brief
from arena.domain import Domain, Mode
from arena.errors import ArenaError
from arena.legality import Illegal, compact_dtype, dtype_of, judge
from arena.task import TaskView

BINS = 64  # of the decision-time histogram: bin k holds decisions of 2^k .. 2^(k+1) ns
DETAIL = 2000  # characters kept of a failure's story
BREAKDOWNS = ("agent.crash", "agent.died", "agent.timeout", "agent.memory")  # of the agent's code, not of one answer


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
    usage: dict[str, float] = field(default_factory=dict)
    peak_rss: int = 0  # bytes

    def spend(self, agent: Agent) -> None:
        amounts = {str(name)[:64]: float(amount) for name, amount in agent.usage.items()}
        self.usage = {name: amount for name, amount in amounts.items() if math.isfinite(amount)}
        self.peak_rss = agent.peak_rss

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
    failures: at most one per role and row; timings: role -> Timing; crashes: role -> the story, where the agent's code broke down
    printed: role -> the end of what an agent in a process of its own has printed
    """

    metrics: dict[str, NDArray[np.float64]]
    actions: dict[str, NDArray[Any]]
    failures: list[Failure]
    timings: dict[str, Timing]
    crashes: dict[str, str]
    printed: dict[str, str]


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
    run: str = "",
) -> Episode:
    """Play every scenario of a batch to its end.

    ids: [B] scenario ids (the key of the agents' own luck); watch: called with the step, now and then; run: uid of the run, if it is of one
    An exception in an agent fails all rows still running; an illegal action fails its row; the others go on. Agents get copies of
    what the kernel holds, and the kernel copies of what they answer, so either may reuse its memory.
    """
    place = torch.device(device)
    scenario = scenario.to(place)
    ids = ids.to(place)
    game = _Game(domain, scenario, lineup, len(ids), place)
    for player in lineup.values():
        mode = player.mode
        horizon = -(-(domain.role(player.role).turns or domain.horizon) // mode.steps)
        brief = Brief(task, player.role, mode.name, mode.observation_space, mode.action_space, horizon, ids.clone(), place, seed, run=run)
        game.begin(player, brief)
    state = domain.reset(scenario)
    for step in range(domain.horizon):
        if not game.count:
            break
        state = game.step(state, step)
        if watch is not None and step % 64 == 0:
            watch(step)
    game.end()
    metrics = {name: value.double().numpy(force=True) for name, value in domain.metrics(scenario, state).items()}
    actions = {role: _stacked(moves) for role, moves in game.moves.items()} if record else {}
    printed = {name: text for name, player in lineup.items() if (text := getattr(player.agent, "output", ""))}
    return Episode(metrics, actions, game.failures, game.timings, game.crashes, printed)


class _Game:
    """The moving parts of one rollout: who is live, what is held, what was done."""

    def __init__(self, domain: Domain, scenario: Any, lineup: Mapping[str, Player], rows: int, device: torch.device) -> None:
        self.domain, self.scenario, self.lineup = domain, scenario, lineup
        self.live = torch.ones(rows, dtype=torch.bool, device=device)
        self.count = rows  # of live rows
        self.single = domain.single
        self.modes = {name: player.mode for name, player in lineup.items()}
        kernel = {name: domain.role(name).modes[0].action_space for name in lineup}
        self.kind = {name: dtype_of(space) for name, space in kernel.items()}
        self.small = {name: compact_dtype(space) for name, space in kernel.items()}
        self.acted = dict.fromkeys(lineup, 0)  # kernel steps at which the role acted
        self.held: dict[str, Tensor] = {}
        self.moves: dict[str, list[Tensor]] = {name: [] for name in lineup}
        self.begun: list[Player] = []
        self.failures: list[Failure] = []
        self.crashes: dict[str, str] = {}
        self.timings = {name: Timing() for name in lineup}

    def begin(self, player: Player, brief: Brief) -> None:
        if self.count:
            self.begun.append(player)
            self.guarded(player, 0, lambda: player.agent.begin(brief))

    def end(self) -> None:
        """Every agent that began and did not break down ends. What breaks here fails nothing: all is played."""
        self.live, self.count = torch.zeros_like(self.live), 0
        for player in self.begun:
            if player.role not in self.crashes:
                self.guarded(player, self.domain.horizon, player.agent.end)
            self.guarded(player, self.domain.horizon, partial(self.timings[player.role].spend, player.agent))

    def step(self, state: Any, step: int) -> Any:
        names = tuple(self.lineup) if self.single else self.domain.acting(self.scenario, state)
        deciding = any(self.acted[name] % self.modes[name].steps == 0 for name in names)
        views = self.domain.views(self.scenario, state, self.modes) if deciding else {}
        actions = {}
        for name in names:
            player = self.lineup[name]
            if self.acted[name] % player.mode.steps == 0:
                self.held[name] = self.decide(player, views[name], state, step)
            self.acted[name] += 1
            expand = player.mode.expand
            move = self.held[name] if expand is None else expand(self.scenario, state, self.held[name]).to(self.kind[name])
            actions[name] = move
            self.moves[name].append(move.to(self.small[name]))
        after, outcome = self.domain.advance(self.scenario, state, actions)
        if self.domain.ends_early:
            self.live = self.live & ~outcome.terminated
            self.count = int(self.live.sum())
        return after

    def decide(self, player: Player, view: Mapping[str, Tensor], state: Any, step: int) -> Tensor:
        """Ask the agent; judge the answer; fail the rows it has lost. The action as the kernel wants it: [B, S, ...] where it nests."""
        role, mode = self.domain.role(player.role), player.mode
        space, alone = mode.action_space, role.seats == 1 and not self.single
        if alone:  # only the kernel needs a seat axis of length 1
            view = {name: tensor.squeeze(1) for name, tensor in view.items()}
        lead = tuple(next(iter(view.values())).shape[: 1 if role.seats == 1 else 2])
        action = None
        if self.count:
            shown = {name: tensor.clone() for name, tensor in view.items()}
            shown["live"] = self.live.clone()
            timing, asked, start = self.timings[player.role], self.count, perf_counter_ns()
            answer = self.guarded(player, step, lambda: player.agent.act(shown))
            timing.add(perf_counter_ns() - start, asked)
        if self.count:
            try:
                found, wrong = judge(answer, space, lead, None if role.advisory else view.get("action_mask"), self.live)
            except Illegal as error:
                self.fail(player.role, step, "agent.illegal", str(error), self.live.nonzero()[:, 0].tolist())
            else:
                for row, reason in wrong.items():
                    self.fail(player.role, step, "agent.illegal", reason, [row])
                action = self.kept(found.to(dtype_of(space), copy=True), player, view)
                if mode.legal is not None:
                    allowed = mode.legal(self.scenario, state, action.unsqueeze(1) if alone else action)
                    refused = (self.live & ~allowed.reshape(len(self.live), -1).all(1)).nonzero()[:, 0].tolist()
                    self.fail(player.role, step, "agent.illegal", f"the rules of mode {mode.name!r} do not allow this action", refused)
                    action = self.kept(action, player, view)
        if action is None:
            action = self.domain.idle(player.role, view, mode)
        return action.unsqueeze(1) if alone else action

    def kept(self, action: Tensor, player: Player, view: Mapping[str, Tensor]) -> Tensor:
        """The action in the rows still played, idling in the others."""
        if len(self.live) == self.count:
            return action
        fill = self.domain.idle(player.role, view, player.mode)
        return torch.where(self.live.view(-1, *[1] * (action.dim() - 1)), action, fill)

    def guarded(self, player: Player, step: int, call: Callable[[], Any]) -> Any:
        """The agent's code, whose exceptions are its own failure; also an attempt to leave the process. Ctrl-C is the user's."""
        try:
            return call()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if isinstance(error, ArenaError) and error.passing:
                raise  # not the agent's fault (a budget cap, a cache miss): the run stays queued and is resumed
            code = "agent.died" if isinstance(error, SystemExit) else "agent.crash"
            said = error.line if isinstance(error, ArenaError) else traceback.format_exception_only(error)[-1].strip()
            head, trace = said[: DETAIL // 4], traceback.format_exc()
            if isinstance(error, ArenaError) and error.code in BREAKDOWNS:  # an agent elsewhere: what it said of itself
                code, head, trace = error.code, error.message[: DETAIL // 4], str(error.context.get("trace", ""))
            story = f"{head}\n{trace[len(head) + 1 - DETAIL :]}".strip()
            self.crashes[player.role] = story
            rows = self.live.nonzero()[:, 0].tolist()
            self.fail(player.role, step, code, story, rows[:1])
            self.fail(player.role, step, code, head, rows[1:])  # the whole story once is enough
            return None

    def fail(self, role: str, step: int, code: str, detail: str, rows: list[int]) -> None:
        self.failures += [Failure(role, row, step, code, detail[:DETAIL]) for row in rows]
        live = self.live.clone()
        live[rows] = False
        self.live, self.count = live, self.count - len(rows)


def _stacked(moves: list[Tensor]) -> NDArray[Any]:
    """Recorded actions [T, B, ...]."""
    return torch.stack(moves).numpy(force=True) if moves else np.zeros((0, 0), np.int8)


@torch.no_grad()
def replay(domain: Domain, scenario: Any, actions: Mapping[str, NDArray[Any]], device: torch.device | str = "cpu") -> dict[str, NDArray[np.float64]]:
    """Metrics from scenario and recorded actions alone; no agent is asked.

    Raises ArenaError `verify.actions` where the record is too short or holds what the kernel refuses.
    """
    scenario = scenario.to(device)
    ((_, state),) = deque(states(domain, scenario, actions, device), maxlen=1)
    return {name: value.double().numpy(force=True) for name, value in domain.metrics(scenario, state).items()}


def states(domain: Domain, scenario: Any, actions: Mapping[str, NDArray[Any]], device: torch.device | str = "cpu") -> Iterator[tuple[int, Any]]:
    """Every (step, state) of a recorded episode, the first state included. Raises ArenaError `verify.actions`."""
    record = {name: torch.from_numpy(np.ascontiguousarray(moves)).to(device) for name, moves in actions.items()}
    kind = {role.name: dtype_of(role.modes[0].action_space) for role in domain.roles}
    absent = sorted(set(kind) - set(record))
    if absent:
        raise ArenaError("verify.actions", f"no actions of {', '.join(absent)} were recorded", "the recording belongs to another task", step=0)
    used = dict.fromkeys(record, 0)
    state: Any = domain.reset(scenario)
    yield 0, state
    for step in range(domain.horizon):
        names = domain.acting(scenario, state)
        if any(used[name] >= len(record[name]) for name in names):
            return
        moves = {}
        for name in names:
            moves[name] = record[name][used[name]].to(kind[name])
            used[name] += 1
        try:
            state, _ = domain.advance(scenario, state, moves)
        except (ValueError, IndexError, RuntimeError) as error:  # what no agent can have played: other shapes, values beyond all tables
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise ArenaError("verify.actions", f"step {step}: {error}", "the recording was altered", step=step) from error
        yield step + 1, state
