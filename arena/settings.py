"""Where things are: flag > environment > arena.toml in the current folder > the user's file > default."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arena.errors import ArenaError

USER_FILE = Path("~/.config/arena/arena.toml")
DEFAULTS = {
    "store": "", "home": ".arena", "engine": "inline", "workers": "auto", "device": "cpu", "isolation": "process", "data": "", "origin": "",
    "log": "warning",
    # how language models are asked (arena/chat/options.py); empty: no limit, no prices
    "chat_cache": "use", "chat_concurrency": "16", "chat_per_minute": "", "chat_timeout": "60", "chat_tokens": "", "chat_money": "",
    "chat_prices": "",
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    name: str
    value: str
    origin: str


_flags: dict[str, str] = {}


def override(**flags: str | Path | None) -> None:
    """Values given on the command line, which win over everything else; None leaves a setting as it is."""
    _flags.update({name: str(value) for name, value in flags.items() if value is not None})


def setting(name: str) -> Setting:
    """One setting and where it comes from. Raises ArenaError for a configuration file that cannot be read."""
    if name in _flags:
        return Setting(name, _flags[name], "flag")
    variable = f"ARENA_{name.upper()}"
    if os.environ.get(variable):
        return Setting(name, os.environ[variable], f"environment ({variable})")
    for path in (Path("arena.toml"), USER_FILE.expanduser()):
        value = _read(path).get(name)
        if value is not None:
            return Setting(name, str(value), str(path))
    return Setting(name, DEFAULTS[name], "default")


def settings() -> list[Setting]:
    return [setting(name) for name in DEFAULTS]


def home() -> Path:
    """The folder of the store, recordings and trained agents."""
    return Path(setting("home").value).expanduser()


def store_url() -> str | None:
    return setting("store").value or None


def data_root() -> Path | None:
    """Where the user keeps real data; None where nothing was said and `data` in the home folder does not exist."""
    value = setting("data").value
    if value:
        return Path(value).expanduser()
    own = home() / "data"
    return own if own.exists() else None


def fetch_root() -> Path:
    """Where data that are fetched go: the data folder or, where none is given, `data` in the home folder, where they are then found."""
    return data_root() or home() / "data"


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ArenaError("settings.file", f"{path} cannot be read: {error}", "correct it or move it away") from error
    wrong = sorted(set(found) - set(DEFAULTS))
    if wrong:
        raise ArenaError("settings.name", f"{path}: no setting is called {wrong[0]!r}", f"settings: {', '.join(DEFAULTS)}")
    return found
