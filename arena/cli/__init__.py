"""`arena ...`: results on stdout, progress on stderr, one exit code per kind of outcome. docs/cli.md."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

from arena.errors import EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_USAGE, ArenaError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. Errors are told on stderr, or with `--json` as a document on stdout; never as a traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    import typer

    from arena.cli.app import app

    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            code = typer.main.get_command(app).main(args=words, prog_name="arena", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except ArenaError as error:
        return _report(as_json, error.exit_code, error.code, error.message, error.hint, error.context)
    except (KeyboardInterrupt, typer.Abort):
        return _report(as_json, EXIT_INTERRUPTED, "interrupted", "interrupted", "", {})
    except Exception as error:
        if isinstance(error, typer.BadParameter.__mro__[2]):  # ClickException, wherever this Typer keeps it
            if type(error).__name__ == "NoArgsIsHelpError":
                print(error)
                return EXIT_USAGE
            hint = f"{_command(error)} --help shows how it is used"
            return _report(as_json, EXIT_USAGE, "usage", _usage(error), hint, {})
        return _unexpected(as_json, error)


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    from arena.cli.output import notice

    notice(f"warning: {message}")


def _usage(error: Any) -> str:
    return str(error.format_message()).rstrip(".")


def _command(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return str(context.command_path) if context is not None else "arena"


def _report(as_json: bool, exit_code: int, code: str, message: str, hint: str, context: dict[str, Any]) -> int:
    from arena.cli.output import literal, print_json

    if as_json:
        print_json("arena.error/1", {"code": code, "message": message, "hint": hint, "context": context})
    else:
        lines = "\n".join(literal(line) for line in message.split("\n"))
        print(f"error: {lines}" + (f"\n  {literal(hint)}" if hint else ""), file=sys.stderr)
    return exit_code


def _unexpected(as_json: bool, error: Exception) -> int:
    """A bug, ours or of a plugin: one line and where to see more."""
    from arena.settings import setting

    if setting("log").value.lower() == "debug":
        import traceback

        traceback.print_exc()
    story = f"{type(error).__name__}: {error}".split("\n")[0]
    return _report(as_json, EXIT_INTERNAL, "internal", story, "set ARENA_LOG=debug to see where it happened", {})
