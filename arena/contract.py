"""The contract check: what an agent must keep to before it may enter, tried on a small task, and in plain words what it does not keep.

An agent is driven through its interface alone (make, check, begin, act, end, close), so the check is the same for code in this process,
in a process of its own and behind HTTP. Steps are the agent's own decisions, counted from 0.
"""

from __future__ import annotations

import fnmatch
import os
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arena import registry
from arena.agent import Agent, Brief, Observation
from arena.domain import Mode, Role
from arena.errors import ArenaError, unknown
from arena.isolation.limits import Limits
from arena.legality import Illegal, dtype_of, judge
from arena.rollout import Player, players, rollout
from arena.task import Task

ENOUGH = 128  # decisions that are judged, where the task has as many
ROWS = 16  # scenarios of a chunk at most
LONG = 2000  # decisions of an episode above which one is enough
KEPT = 256  # calls of an episode that are asked again
CLOSE = 1e-5  # within which answers in a Box are the same
RULES = {  # and what they ask for, in the order in which they are told
    "fits": "can be made, names a mode of its role and accepts the task",
    "runs": "begin, act and end do not break down",
    "legal": "every answer lies in the action space",
    "finite": "no answer is NaN or infinite",
    "mask": "every answer is allowed by the action mask",
    "repeatable": "the same observations and seed give the same answers",
    "reset": "begin forgets the chunk before",
    "batch": "a scenario is played alone as among others",
    "inputs": "observations are left as they were",
    "outputs": "an answer once given does not change",
    "time": "decisions are made within the task's limit",
}


@dataclass(frozen=True)
class Check:
    """One rule. ok: None where it could not be judged because another one is broken; detail: one line, what was found."""

    rule: str
    ok: bool | None
    detail: str


@dataclass(frozen=True)
class Report:
    """What the check came to. decisions: that were judged (live scenarios x seats x calls); legal: of them."""

    task: str
    checks: list[Check]
    decisions: int
    legal: int
    ms_per_decision: float | None

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    @property
    def summary(self) -> str:
        """One line: contract ok   1600/1600 legal   0.31 ms/decision."""
        broken = [check.rule for check in self.checks if check.ok is False]
        verdict = "ok" if self.ok else f"broken ({', '.join(broken)})"
        time = "" if self.ms_per_decision is None else f"   {self.ms_per_decision:.2g} ms/decision"
        return f"contract {verdict}   {self.legal}/{self.decisions} legal{time}"


def tiny_task(patterns: Iterable[str]) -> str:
    """The task on which an agent that plays these globs is checked: the first tiny one, else the ranked one with fewest scenarios.

    Raises ArenaError `unknown.task` where none matches.
    """
    known, wanted = registry.tasks(), tuple(patterns)
    matching = {name: spec for name, spec in known.items() if any(fnmatch.fnmatch(name, pattern) for pattern in wanted)}
    for name, spec in matching.items():
        if spec.tier == "tiny":
            return name
    if not matching:
        raise unknown("task", ", ".join(wanted), known, "arena list tasks shows all")
    # those that need the user's data come last
    return min(matching, key=lambda name: (bool(matching[name].needs), not matching[name].ranked, matching[name].n))


@torch.no_grad()
def check_agent(make: Callable[[], Agent], task: Task, seed: int = 0) -> Report:
    """Drive fresh agents through a small part of a task and judge every rule of `RULES`; one broken rule does not hide the next.

    Errors of the families `run` and `infra` (a budget spent, a service away) are nobody's fault and come through.
    """
    exam = _Exam(make, task, seed)
    try:
        exam.sit()
    finally:
        exam.close()
    return exam.report()


@dataclass(frozen=True)
class _Call:
    """One question and its answer: copies, so that no later change of either matters.

    answer: None where nothing in it could be used; fair: [B] rows that are live and were answered legally
    """

    seen: dict[str, Tensor]
    answer: Tensor | None
    fair: Tensor


@dataclass(frozen=True)
class _Tape:
    brief: Brief
    calls: list[_Call]


class _Watched(Agent):
    """Stands before an agent, passes everything on, and notes what it does wrong. `calls` holds the first ones since `begin`."""

    def __init__(self, agent: Agent, role: Role, note: Callable[[str, str], None]) -> None:
        self.agent, self.role, self.note = agent, role, note
        self.mode, self.broken, self.step = agent.mode, False, -1

    @property
    def usage(self) -> Mapping[str, float]:  # type: ignore[override]
        return self.agent.usage

    @property
    def tape(self) -> _Tape:
        return _Tape(self.brief, self.calls)

    def begin(self, brief: Brief) -> None:
        self.brief, self.step = replace(brief, scenario=brief.scenario.clone()), -1
        self.calls: list[_Call] = []
        self.refused: set[int] = set()  # rows with an illegal answer
        self.last: tuple[NDArray[Any], NDArray[Any]] | None = None  # the answer before, and a copy taken when it was given
        self.nanoseconds = self.decisions = 0
        self.shown = brief.scenario
        self._guarded("begin", lambda: self.agent.begin(brief))

    def act(self, obs: Observation) -> Any:
        self.step += 1
        given, before = dict(obs), {name: tensor.clone() for name, tensor in obs.items()}
        start = perf_counter_ns()
        answer = self._guarded(f"act, step {self.step},", lambda: self.agent.act(obs))
        self.nanoseconds += perf_counter_ns() - start
        found = self._judged(answer, before)
        if self.step < KEPT:
            self._inputs(given, before)
            self._outputs(answer if found is not None else None)
            fair = before["live"].clone()
            fair[list(self.refused)] = False
            self.calls.append(_Call(before, found, fair))
        return answer

    def end(self) -> None:
        self._guarded("end", self.agent.end)

    def again(self, tape: _Tape, rows: list[int] | None = None) -> list[Tensor | None]:
        """The answers to a tape's questions, or to those of some of its rows. They end where the agent breaks down."""
        chosen = torch.arange(len(tape.brief)) if rows is None else torch.tensor(rows)
        try:
            self.begin(replace(tape.brief, scenario=tape.brief.scenario[chosen]))
            for call in tape.calls:
                if not bool(call.seen["live"][chosen].any()):
                    break
                self.act({name: tensor[chosen] for name, tensor in call.seen.items()})
            self.end()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if not self.broken or _nobodys(error):
                raise
        return [call.answer for call in self.calls]

    # ---- what is noted ------------------------------------------------------------------------------------------

    def _guarded(self, place: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if not _nobodys(error):
                self.broken = True
                rows = "1 scenario" if len(self.brief) == 1 else f"{len(self.brief)} scenarios"
                self.note("runs", f"{place} with {rows}: {_story(error)}")
            raise

    def _where(self, row: int, others: int = 0) -> str:
        company = " alone" if len(self.brief) == 1 else f" and {others} others" if others else ""
        return f"scenario {int(self.brief.scenario[row])}{company}, step {self.step}"

    def _inputs(self, given: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> None:
        for name, copy in before.items():
            if given[name].shape != copy.shape:
                self.note("inputs", f"step {self.step}: act gave obs[{name!r}] another shape; work on a copy")
                continue
            changed = _apart(given[name], copy)
            if bool(changed.any()):
                place = tuple(changed.nonzero()[0].tolist())
                values = f"{_shown(copy[place])} to {_shown(given[name][place])}"
                self.note("inputs", f"{self._where(place[0])}: act changed obs[{name!r}] from {values}; work on a copy")
        if not torch.equal(self.shown, self.brief.scenario):
            self.note("inputs", f"step {self.step}: the agent changed brief.scenario; work on a copy")

    def _outputs(self, answer: Any) -> None:
        if self.last is not None:
            now, then = self.last
            changed = (now != then) & ((now == now) | (then == then))  # NaN equals NaN
            if changed.any():
                place = tuple(np.argwhere(changed)[0].tolist())
                story = f"the answer of step {self.step - 1}, {then[place]}, became {now[place]} when this one was asked for"
                self.note("outputs", f"{self._where(place[0])}: {story}; return a new array every time")
        if isinstance(answer, Tensor):
            answer = None if answer.dtype is torch.bfloat16 else answer.detach().numpy(force=True)  # over the same memory
        self.last = (answer, answer.copy()) if isinstance(answer, np.ndarray) else None

    def _judged(self, answer: Any, seen: Mapping[str, Tensor]) -> Tensor | None:
        """The answer's values [*lead, ...], copied; legal or not. None where nothing in it can be used."""
        space, live = self.brief.action_space, seen["live"]
        lead = tuple(next(iter(seen.values())).shape[: 1 if self.role.seats == 1 else 2])
        self.decisions += int(live.sum()) * int(np.prod(lead[1:], dtype=int))
        rows = live.nonzero()[:, 0].tolist()
        try:
            found, wrong = judge(answer, space, lead, None, live)
        except Illegal as error:
            self.refused.update(rows)
            self.note("legal", f"{self._where(rows[0], len(rows) - 1)}: {error}")
            return None
        for row, reason in wrong.items():
            infinite = found.dtype.is_floating_point and not bool(found[row].isfinite().all())
            self.note("finite" if infinite else "legal", f"{self._where(row)}: {reason}")
        values = found.to(dtype_of(space), copy=True)
        mask = None if self.role.advisory else seen.get("action_mask")
        if mask is not None:
            allowed = live.clone()
            allowed[list(wrong)] = False
            _, masked = judge(values, space, lead, mask, allowed)
            for row, reason in masked.items():
                self.note("mask", f"{self._where(row)}: {reason}")
            wrong = wrong | masked
        self.refused.update(wrong)
        return values


class _Exam:
    """The probes, and what they found: `notes` holds the first fault of each rule."""

    def __init__(self, make: Callable[[], Agent], task: Task, seed: int) -> None:
        self.make, self.task, self.seed = make, task, seed
        self.roles = task.candidates or (task.role,)
        self.notes: dict[str, str] = {}
        self.counts: dict[str, int] = dict.fromkeys(("repeatable", "reset", "batch"), 0)  # answers that were compared
        self.made: list[Agent] = []
        self.modes: dict[str, Mode] = {}
        self.decisions = self.illegal = self.nanoseconds = 0

    def note(self, rule: str, story: str) -> None:
        self.notes.setdefault(rule, story)

    def close(self) -> None:
        for agent in self.made:
            agent.close()

    def sit(self) -> None:
        parts = self.task.chunks(min(ROWS, -(-self.task.n // 2)))
        first = self.fresh()
        tapes = self.play(first, parts[0])
        second = self.fresh()
        self.compare("repeatable", "when first asked", "when asked again", second, tapes)
        if not first or not second or "repeatable" in self.notes:
            return
        once = any(agent.broken or agent.step > LONG for agent in first.values())
        later = {} if once else self.play(second, parts[-1])
        for name, tape in tapes.items():
            if not second[name].broken:
                second[name].again(tape, [0])
        self.compare("reset", "in an agent's first chunk", "in a later one", second, tapes)
        third = self.fresh()
        self.compare("reset", "in a later chunk", "in an agent's first one", third, later)
        if "reset" in self.notes:
            return
        for row in (0, -1):
            self.compare("batch", "among others", "alone", third, tapes, row)
        self.compare("batch", "among others", "alone", third, later, 0)
        for part in parts[1:-1]:
            if self.decisions >= ENOUGH:
                return
            self.play(third, part)

    def fresh(self) -> dict[str, _Watched]:
        """New agents in the candidate roles; none where they cannot be had."""
        agents: dict[str, _Watched] = {}
        try:
            for name in self.roles:
                agent, role = self.make(), self.task.domain.role(name)
                self.made.append(agent)
                if agent.mode not in (None, *(mode.name for mode in role.modes)):
                    offered = ", ".join(mode.name for mode in role.modes)
                    raise ArenaError("agent.incompatible", f"mode = {agent.mode!r}; the role {name} has the modes {offered}")
                agent.check(self.task.view)
                self.modes[name] = role.mode(agent.mode)
                agents[name] = _Watched(agent, role, self.note)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if _nobodys(error):
                raise
            self.note("fits", _story(error))
            return {}
        return agents

    def seated(self, agents: Mapping[str, _Watched]) -> dict[str, Player]:
        fill = {role: registry.candidate(reference).make() for role, reference in self.task.fill.items()}
        self.made += fill.values()
        return players(self.task.domain, {**agents, **fill})

    def play(self, agents: Mapping[str, _Watched], part: tuple[int, int]) -> dict[str, _Tape]:
        """A chunk from its first step to its last, and what was asked and answered in each role."""
        if not agents or any(agent.broken for agent in agents.values()):
            return {}
        start, n = part
        ids = torch.arange(start, start + n)
        episode = rollout(
            self.task.domain, self.task.rows(start, n), self.seated(agents), task=self.task.view, ids=ids, seed=self.seed, record=False
        )
        for name, story in episode.crashes.items():
            if name in agents and not agents[name].broken:
                raise RuntimeError(f"the check itself failed: {story}")  # in `_Watched`, where the rollout takes it for the agent's fault
        for failure in episode.failures:
            if failure.role not in agents:
                filler = self.task.fill[failure.role]
                raise ArenaError("task.fill", f"{filler}, which {self.task.id} seats as {failure.role}, failed: {failure.detail}")
            if failure.code == "agent.illegal":
                self.illegal += 1
                if failure.row not in agents[failure.role].refused:  # by the rules of the mode, which only the domain knows
                    step = failure.step // self.modes[failure.role].steps
                    self.note("legal", f"scenario {int(ids[failure.row])}, step {step}: {failure.detail}")
        self.decisions += sum(agent.decisions for agent in agents.values())
        self.nanoseconds += sum(agent.nanoseconds for agent in agents.values())
        return {name: agent.tape for name, agent in agents.items() if hasattr(agent, "brief")}

    def compare(
        self, rule: str, then: str, now: str, agents: Mapping[str, _Watched], tapes: Mapping[str, _Tape], row: int | None = None
    ) -> None:
        """Ask a tape's questions (or those of one row of it) of other agents, and note the first answer that is another."""
        for name, tape in tapes.items():
            if name not in agents or agents[name].broken:
                continue
            rows = None if row is None else [row % len(tape.brief)]
            story, compared = _difference(tape, agents[name].again(tape, rows), rows, then, now)
            self.counts[rule] += compared
            if story is not None:
                self.note(rule, f"{story}; {_ADVICE[rule]}")

    # ---- the verdict ----------------------------------------------------------------------------------------------

    def report(self) -> Report:
        spent = self.nanoseconds / 1e6 / self.decisions if self.decisions else None
        most = 1000 * Limits.of(self.task.limits).act_s
        if spent is not None and spent > most:
            self.note("time", f"{spent:.3g} ms per decision, at most {most:.3g} are allowed by {self.task.id}")
        fine = self._fine(spent, most)
        checks = []
        for rule in RULES:
            ok = False if rule in self.notes else None if fine[rule] is None else True
            checks.append(Check(rule, ok, self.notes.get(rule) or fine[rule] or "not judged: first mend the rules above"))
        return Report(self.task.id, checks, self.decisions, self.decisions - self.illegal, spent)

    def _fine(self, spent: float | None, most: float) -> dict[str, str | None]:
        """What was seen of each rule, if nothing was wrong; None where nothing was."""
        fits = ", ".join(f"{name} in mode {mode.name}" for name, mode in self.modes.items()) or None
        if not self.decisions:
            return dict.fromkeys(RULES, None) | {"fits": fits}
        seen = f"{self.decisions} answers"
        boxes = [mode for mode in self.modes.values() if dtype_of(mode.action_space).is_floating_point]
        masks = [name for name, mode in self.modes.items() if "action_mask" in mode.observation_space.spaces]
        binding = [name for name in masks if not self.task.domain.role(name).advisory]
        repeated = {rule: f"{count} answers compared" if count else None for rule, count in self.counts.items()}
        return {
            "fits": fits,
            "runs": f"{len(self.made)} agents made, played and ended",
            "legal": seen,
            "finite": seen if boxes else "no action here is a float",
            "mask": seen if binding else "a mask that informs and does not bind" if masks else "no mask here",
            **repeated,
            "inputs": seen,
            "outputs": seen,
            "time": f"{spent:.2g} ms per decision, of at most {most:.3g}",
        }


_ADVICE = {
    "repeatable": "take luck from brief.uniforms(step, k)",
    "reset": "start every state afresh in begin(brief)",
    "batch": "one scenario may not depend on the others in the batch",
}


def _difference(tape: _Tape, answers: list[Tensor | None], rows: list[int] | None, then: str, now: str) -> tuple[str | None, int]:
    """The first answer of a live row that is not the one on the tape, told; and how many were compared."""
    chosen = list(range(len(tape.brief))) if rows is None else rows
    compared = 0
    for step, (call, answer) in enumerate(zip(tape.calls, answers, strict=False)):
        live = call.fair[chosen]
        if call.answer is None or answer is None:
            if call.answer is not None:
                return f"scenario {int(tape.brief.scenario[chosen[0]])}, step {step}: no usable answer {now}", compared
            continue
        was = call.answer[chosen]
        compared += int(live.sum())
        apart = _apart(answer, was, CLOSE) & live.view(-1, *[1] * (was.dim() - 1))
        if bool(apart.any()):
            place = tuple(apart.nonzero()[0].tolist())
            scenario = int(tape.brief.scenario[chosen[place[0]]])
            at = f" at {list(place[1:])}" if len(place) > 1 else ""
            return f"scenario {scenario}, step {step}{at}: {_shown(was[place])} {then}, {_shown(answer[place])} {now}", compared
    return None, compared


def _apart(now: Tensor, then: Tensor, tolerance: float = 0.0) -> Tensor:
    """Where two tensors of one shape differ; NaN equals NaN."""
    if not then.dtype.is_floating_point:
        return now != then
    return ~torch.isclose(now.double(), then.double(), rtol=tolerance, atol=tolerance, equal_nan=True)


def _shown(value: Tensor) -> str:
    number = value.item()
    return f"{number:.7g}" if isinstance(number, float) else str(number)


def _nobodys(error: BaseException) -> bool:
    return isinstance(error, ArenaError) and error.code.split(".")[0] in ("run", "infra")


def _story(error: BaseException) -> str:
    """An error in one line, with the last place of the agent's own code in it."""
    if isinstance(error, ArenaError):
        lines = [error.message.split("\n")[0], *error.hint.split("\n")[:1]]
        return "; ".join(line for line in lines if line)
    head = traceback.format_exception_only(error)[-1].strip().split("\n")[0][:300]
    foreign = ("site-packages", "dist-packages", "<", f"{Path(__file__).parent}{os.sep}")
    own = [f for f in traceback.extract_tb(error.__traceback__) if not any(word in f.filename for word in foreign)]
    return f"{head} ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else head
