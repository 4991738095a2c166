"""Does a foreign model fit a task? One rule for all adapters, and one form in which the answer is told."""

from __future__ import annotations

from collections.abc import Callable

from arena.domain import Mode
from arena.errors import ArenaError
from arena.task import TaskView


class Misfit(Exception):
    """Why a model cannot play a mode: what it has, with shape and dtype, and what was expected."""


def fit(task: TaskView, mode: str | None, what: str, test: Callable[[Mode], None]) -> None:
    """Pass if `test` raises no Misfit for some role in the agent's mode.

    Raises ArenaError `agent.incompatible` with the reason for every role, and naming the modes it would have fitted.
    """
    reasons, others = [], []
    for role in task.domain.roles:
        chosen = None
        try:
            chosen = role.mode(mode)
            test(chosen)
            return
        except (Misfit, KeyError) as error:
            reasons.append(f"{role.name}: {error.args[0]}" if len(task.domain.roles) > 1 else str(error.args[0]))
        for other in role.modes:
            try:
                if other is not chosen:
                    test(other)
                    others.append(repr(other.name))
            except Misfit:
                continue
    hint = f"it fits mode {' or '.join(others)}: give mode={others[0]}" if others else "docs/agents.md says what such a model takes and gives"
    raise ArenaError("agent.incompatible", f"{what} cannot play {task.id}: {'; '.join(reasons)}", hint)
