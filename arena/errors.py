"""One error type for everything a user can cause: what happened, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_INTERNAL, EXIT_USAGE, EXIT_FAILURES, EXIT_STORE, EXIT_MISMATCH, EXIT_NOT_FOUND, EXIT_INTERRUPTED = 1, 2, 3, 4, 5, 6, 130

_EXIT_BY_CODE = {
    "store": EXIT_STORE,
    "infra": EXIT_STORE,
    "verify": EXIT_MISMATCH,
    "bundle": EXIT_MISMATCH,
    "unknown": EXIT_NOT_FOUND,
    "internal": EXIT_INTERNAL,
    "kernel": EXIT_INTERNAL,
    "score": EXIT_INTERNAL,
}


class ArenaError(Exception):
    """An error with a stable `code` (`family.detail`), a message that names the value, and a hint that says what to do.

    `context` holds the machine-readable parts (printed by `--json`). The exit code follows from the family of the code.
    """

    def __init__(self, code: str, message: str, hint: str = "", **context: object) -> None:
        super().__init__(message)
        self.code, self.message, self.hint, self.context = code, message, hint, context

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.code, self.message, self.hint, self.context)

    @property
    def line(self) -> str:
        """What is wrong and what to do, in one line."""
        return "; ".join(part.split("\n")[0] for part in (self.message, self.hint) if part)

    @property
    def passing(self) -> bool:
        """Whether it is a fault of machine, store, settings or a service, and no agent's: the run stays to be resumed."""
        return self.code.split(".")[0] in ("run", "infra", "store", "settings", "chat")

    @property
    def exit_code(self) -> int:
        return _EXIT_BY_CODE.get(self.code.split(".")[0], EXIT_USAGE)


def _rebuild(code: str, message: str, hint: str, context: dict[str, object]) -> ArenaError:
    return ArenaError(code, message, hint, **context)


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> ArenaError:
    """The error for a name nobody knows: the closest matches are suggested."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    advice = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names[:12]) or 'none'}"
    return ArenaError(f"unknown.{kind}", f"no {kind} is called {name!r}", f"{advice}  {hint}".strip(), name=name, nearest=near)
