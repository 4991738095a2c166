"""A witness stands between a rollout and an agent: it passes everything on, keeps questions and answers, and notes what is wrong."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arena.agent import Agent, Brief, Observation
from arena.domain import Role
from arena.errors import ArenaError
from arena.legality import Illegal, dtype_of, judge

KEPT = 256  # calls of an episode that are kept, to be asked again
CLOSE = 1e-5  # within which answers in a Box are the same


@dataclass(frozen=True)
class Call:
    """One question and its answer: copies, so that no later change of either matters.

    answer: None where nothing in it could be used; fair: [B] rows that are live and were answered legally
    """

    seen: dict[str, Tensor]
    answer: Tensor | None
    fair: Tensor


@dataclass(frozen=True)
class Tape:
    """What was asked and answered since `begin`."""

    brief: Brief
    calls: list[Call]


class Witness(Agent):
    """Stands before an agent, passes everything on, and notes what it does wrong. `calls` holds the first ones since `begin`."""

    def __init__(self, agent: Agent, role: Role, note: Callable[[str, str], None]) -> None:
        self.agent, self.role, self.note = agent, role, note
        self.mode, self.broken, self.step = agent.mode, False, -1

    @property
    def usage(self) -> Mapping[str, float]:  # type: ignore[override]
        return self.agent.usage

    @property
    def tape(self) -> Tape:
        return Tape(self.brief, self.calls)

    def begin(self, brief: Brief) -> None:
        self.brief, self.step = replace(brief, scenario=brief.scenario.clone()), -1
        self.calls: list[Call] = []
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
            self.calls.append(Call(before, found, fair))
        return answer

    def end(self) -> None:
        self._guarded("end", self.agent.end)

    def again(self, tape: Tape, rows: list[int] | None = None) -> list[Tensor | None]:
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
            if not self.broken or nobodys(error):
                raise
        return [call.answer for call in self.calls]

    # ---- what is noted ------------------------------------------------------------------------------------------

    def _guarded(self, place: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if not nobodys(error):
                self.broken = True
                rows = "1 scenario" if len(self.brief) == 1 else f"{len(self.brief)} scenarios"
                self.note("runs", f"{place} with {rows}: {story_of(error)}")
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


def difference(tape: Tape, answers: list[Tensor | None], rows: list[int] | None, then: str, now: str) -> tuple[str | None, int]:
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


def nobodys(error: BaseException) -> bool:
    """Whether an error is not the agent's fault: a budget spent, a service away."""
    return isinstance(error, ArenaError) and error.passing


def story_of(error: BaseException) -> str:
    """An error in one line, with the last place of the agent's own code in it."""
    if isinstance(error, ArenaError):
        return error.line
    head = traceback.format_exception_only(error)[-1].strip().split("\n")[0][:300]
    foreign = ("site-packages", "dist-packages", "<", f"{Path(__file__).parent}{os.sep}")
    own = [f for f in traceback.extract_tb(error.__traceback__) if not any(word in f.filename for word in foreign)]
    return f"{head} ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else head
