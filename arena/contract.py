"""The contract check: what an agent must keep to before it may enter, tried on a small task, and in plain words what it does not keep.

An agent is driven through its interface alone (make, check, begin, act, end, close), so the check is the same for code in this process,
in a process of its own and behind HTTP. Steps are the agent's own decisions, counted from 0.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from arena import registry
from arena.agent import Agent
from arena.domain import Mode
from arena.errors import ArenaError, unknown
from arena.isolation.limits import Limits
from arena.legality import dtype_of
from arena.rollout import Player, players, rollout
from arena.task import Task
from arena.witness import Tape, Witness, difference, nobodys, story_of

ENOUGH = 128  # decisions that are judged, where the task has as many
ROWS = 16  # scenarios of a chunk at most
LONG = 2000  # decisions of an episode above which one is enough
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

    def fresh(self) -> dict[str, Witness]:
        """New agents in the candidate roles; none where they cannot be had."""
        agents: dict[str, Witness] = {}
        try:
            for name in self.roles:
                agent, role = self.make(), self.task.domain.role(name)
                self.made.append(agent)
                if agent.mode not in (None, *(mode.name for mode in role.modes)):
                    offered = ", ".join(mode.name for mode in role.modes)
                    raise ArenaError("agent.incompatible", f"mode = {agent.mode!r}; the role {name} has the modes {offered}")
                agent.check(self.task.view)
                self.modes[name] = role.mode(agent.mode)
                agents[name] = Witness(agent, role, self.note)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if nobodys(error):
                raise
            self.note("fits", story_of(error))
            return {}
        return agents

    def seated(self, agents: Mapping[str, Witness]) -> dict[str, Player]:
        fill = {role: registry.candidate(reference).enter(self.task.view) for role, reference in self.task.fill.items()}
        self.made += fill.values()
        return players(self.task.domain, {**agents, **fill})

    def play(self, agents: Mapping[str, Witness], part: tuple[int, int]) -> dict[str, Tape]:
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
                raise RuntimeError(f"the check itself failed: {story}")  # in `Witness`, where the rollout takes it for the agent's fault
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
        self, rule: str, then: str, now: str, agents: Mapping[str, Witness], tapes: Mapping[str, Tape], row: int | None = None
    ) -> None:
        """Ask a tape's questions (or those of one row of it) of other agents, and note the first answer that is another."""
        for name, tape in tapes.items():
            if name not in agents or agents[name].broken:
                continue
            rows = None if row is None else [row % len(tape.brief)]
            story, compared = difference(tape, agents[name].again(tape, rows), rows, then, now)
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
