"""How models are asked, as this machine's user wishes: nothing here changes what an agent is, so a run goes on under other options."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from arena import settings
from arena.errors import ArenaError

CacheMode = Literal["use", "refresh", "only"]
MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """Money per million tokens."""

    input: float
    output: float

    def of(self, input_tokens: int, output_tokens: int) -> float:
        return (input_tokens * self.input + output_tokens * self.output) / MILLION


@dataclass(frozen=True)
class Options:
    """cache: `use` answers that are kept, `refresh` them, or `only` use them (no network; a missing answer is an error)
    concurrency: questions under way at once; per_minute: requests at most, or None; timeout: s for one answer
    tokens, money: what one run may spend, over all its attempts, or None; prices: by model
    """

    cache: CacheMode = "use"
    concurrency: int = 16
    per_minute: float | None = None
    timeout: float = 60.0
    tokens: float | None = None
    money: float | None = None
    prices: Mapping[str, Price] = field(default_factory=dict)

    def price(self, model: str) -> Price | None:
        """Raises ArenaError `chat.prices` where there is a budget of money and no price to count by."""
        found = self.prices.get(model)
        if found is None and self.money is not None:
            known = ", ".join(sorted(self.prices)) or "no model"
            raise ArenaError("chat.prices", f"the budget is money, but {model!r} has no price; the table has {known}", PRICES_HINT)
        return found


PRICES_HINT = 'chat_prices (ARENA_CHAT_PRICES) names a TOML file: ["model"], input = 0.15, output = 0.60, per million tokens'


def options() -> Options:
    """The options that hold now. Raises ArenaError `settings.value`, `chat.prices`."""
    cache = settings.setting("chat_cache").value
    if cache not in get_args(CacheMode):
        raise _wrong("chat_cache", "one of use, refresh, only")
    concurrency = _number("chat_concurrency")
    timeout = _number("chat_timeout")
    if concurrency is None or concurrency != int(concurrency):
        raise _wrong("chat_concurrency", "a whole number above 0")
    if timeout is None:
        raise _wrong("chat_timeout", "seconds above 0")
    file = settings.setting("chat_prices").value
    return Options(
        cast(CacheMode, cache), int(concurrency), _number("chat_per_minute"), timeout, _number("chat_tokens"), _number("chat_money"),
        prices(Path(file).expanduser()) if file else {},
    )  # fmt: skip


def _number(name: str) -> float | None:
    text = settings.setting(name).value
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise _wrong(name, "a number above 0")
    return value


def _wrong(name: str, expected: str) -> ArenaError:
    found = settings.setting(name)
    return ArenaError("settings.value", f"{name} = {found.value!r} (from {found.origin}): expected {expected}", "docs/cli.md lists the settings")


def prices(path: Path) -> dict[str, Price]:
    """The user's price table. Raises ArenaError `chat.prices` for a file that is none."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ArenaError("chat.prices", f"{path} cannot be read: {error}", PRICES_HINT) from error
    found = {}
    for model, row in table.items():
        values = [row.get(name) for name in ("input", "output")] if isinstance(row, dict) and set(row) == {"input", "output"} else [None]
        if not all(isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf for value in values):
            raise ArenaError("chat.prices", f"{path}: the price of {model!r} is {row!r}", PRICES_HINT)
        found[model] = Price(float(row["input"]), float(row["output"]))
    return found
