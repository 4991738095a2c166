"""What was asked and answered in a run, call by call, and what it cost: one SQLite file per run and role, HOME/chat/runs/UID-ROLE.sqlite.

The client writes a row for every question, the agent adds what it read in the answer; the dashboard and others read. Never a secret.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from arena.chat.database import folder, opened, unkept
from arena.chat.endpoint import Attempt
from arena.errors import ArenaError

Source = Literal["live", "shared", "cache", "failed"]
INVALID = ""  # the choice read from an answer that holds none
SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger (one INTEGER PRIMARY KEY CHECK (one = 1), calls INTEGER, input_tokens INTEGER, output_tokens INTEGER, money REAL);
INSERT OR IGNORE INTO ledger VALUES (1, 0, 0, 0, 0.0);
CREATE TABLE IF NOT EXISTS calls (
    scenario INTEGER, step INTEGER, stage TEXT, ask INTEGER, key TEXT, source TEXT, messages TEXT, text TEXT, finish TEXT, choice TEXT,
    attempts TEXT, seconds REAL, input_tokens INTEGER, output_tokens INTEGER, estimated INTEGER, money REAL, error TEXT, at REAL,
    PRIMARY KEY (scenario, step, stage, ask)
) WITHOUT ROWID;
"""


class Place(NamedTuple):
    """Which question of an episode: scenario id, decision, stage of the decision (predict, choose), how often it was asked before."""

    scenario: int
    step: int
    stage: str = "choose"
    ask: int = 0


@dataclass(frozen=True)
class Call:
    """One question and its answer.

    source: live (sent), shared (answered by an identical question sent at the same time), cache, failed
    choice: what the agent read in the answer, INVALID for nothing, None where it did not look
    attempts: all that were made, retries included; seconds: from the first attempt to the answer; tokens and money: of the answer, whenever
    it was paid (`money` None without a price; 0 tokens where it was shared)
    """

    place: Place
    key: str
    source: Source
    messages: Sequence[Mapping[str, str]]
    text: str
    finish: str = ""
    attempts: Sequence[Attempt] = ()
    seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False
    money: float | None = None
    error: str = ""
    choice: str | None = None
    at: float = 0.0


@dataclass(frozen=True)
class Spent:
    """What was paid for a run, over all its attempts."""

    calls: int
    input_tokens: int
    output_tokens: int
    money: float

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


def path_of(run: str, role: str) -> Path:
    """The transcript of a run (its uid) in a role; `:memory:` outside a run, where only the answers are kept."""
    return folder() / "runs" / f"{run}-{role}.sqlite" if run else Path(":memory:")


class Transcript:
    """The writer. `about`: who plays what, for whoever finds the file."""

    def __init__(self, path: Path, about: Mapping[str, Any] | None = None) -> None:
        self.connection = opened(path, SCHEMA)
        rows = [(name, json.dumps(value, ensure_ascii=False)) for name, value in (about or {}).items()]
        self.connection.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", rows)

    def add(self, calls: Iterable[Call]) -> None:
        """Rows of questions that cost nothing now. An answer that is there already stays: it has what was paid and how long it took."""
        rows = list(calls)
        if rows:
            with self._written():
                query = "DELETE FROM calls WHERE scenario = ? AND step = ? AND stage = ? AND ask = ? AND source = 'failed'"
                self.connection.executemany(query, [call.place for call in rows])
                self._insert("INSERT OR IGNORE", rows)

    def pay(self, call: Call) -> Spent:
        """The row of a question that was sent, and what the run has cost with it, in one transaction."""
        with self._written():
            self._insert("INSERT OR REPLACE", [call])
            query = """UPDATE ledger SET calls = calls + 1, input_tokens = input_tokens + ?, output_tokens = output_tokens + ?, money = money + ?
                RETURNING calls, input_tokens, output_tokens, money"""
            found = self.connection.execute(query, (call.input_tokens, call.output_tokens, call.money or 0.0)).fetchone()
        return Spent(*found)

    def choose(self, choices: Iterable[tuple[Place, str]]) -> None:
        """What the agent read in the answers."""
        with self._written():
            query = "UPDATE calls SET choice = ? WHERE scenario = ? AND step = ? AND stage = ? AND ask = ?"
            self.connection.executemany(query, [(choice, *place) for place, choice in choices])

    @contextmanager
    def _written(self) -> Iterator[None]:
        """One transaction, all of it or nothing. Raises ArenaError `infra.disk`."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield
            self.connection.execute("COMMIT")
        except BaseException as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise unkept(error) from error
            raise

    @property
    def spent(self) -> Spent:
        return Spent(*self.connection.execute("SELECT calls, input_tokens, output_tokens, money FROM ledger").fetchone())

    def close(self) -> None:
        self.connection.close()

    def _insert(self, verb: str, calls: Sequence[Call]) -> None:
        rows = [
            (
                *call.place, call.key, call.source, json.dumps(list(call.messages), ensure_ascii=False), call.text, call.finish, call.choice,
                json.dumps([asdict(attempt) for attempt in call.attempts]), call.seconds, call.input_tokens, call.output_tokens,
                call.estimated, call.money, call.error, call.at or time.time(),
            )
            for call in calls
        ]  # fmt: skip
        self.connection.executemany(f"{verb} INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


# ---- reading -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Summary:
    """A run's transcript in figures. invalid: answers in which the agent found no choice; p50, p95: s, of questions that were sent"""

    calls: int
    live: int
    shared: int
    cached: int
    failed: int
    retries: int
    invalid: int
    spent: Spent
    p50: float | None
    p95: float | None


class Reader:
    """A transcript, read only: it may be open in the run that writes it. Raises ArenaError `store.chat` for what is none."""

    def __init__(self, path: Path) -> None:
        try:
            self.connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
            self.connection.row_factory = sqlite3.Row
            self.about: dict[str, Any] = {name: json.loads(value) for name, value in self.connection.execute("SELECT name, value FROM about")}
        except (sqlite3.Error, ValueError) as error:
            raise ArenaError("store.chat", f"{path} is no transcript: {error}", "transcripts lie in HOME/chat") from error

    def scenarios(self) -> list[int]:
        """Ids of the scenarios of which there are calls."""
        return [row[0] for row in self.connection.execute("SELECT DISTINCT scenario FROM calls ORDER BY scenario")]

    def calls(self, scenario: int | None = None) -> list[Call]:
        """All calls, or those of one scenario, in the order in which they were made."""
        where, values = ("", ()) if scenario is None else (" WHERE scenario = ?", (scenario,))
        # a decision's stages in the order they were asked in: by time, then by repetition
        query = f"SELECT * FROM calls{where} ORDER BY scenario, step, at, ask"
        return [_call(row) for row in self.connection.execute(query, values)]

    def summary(self) -> Summary:
        sources = dict(self.connection.execute("SELECT source, count(*) FROM calls GROUP BY source").fetchall())
        invalid = self.connection.execute("SELECT count(*) FROM calls WHERE choice = ?", (INVALID,)).fetchone()[0]
        retries = self.connection.execute("SELECT coalesce(sum(max(0, json_array_length(attempts) - 1)), 0) FROM calls").fetchone()[0]
        seconds = [row[0] for row in self.connection.execute("SELECT seconds FROM calls WHERE source = 'live'")]
        p50, p95 = (float(q) for q in np.quantile(seconds, (0.5, 0.95))) if seconds else (None, None)
        spent = Spent(*self.connection.execute("SELECT calls, input_tokens, output_tokens, money FROM ledger").fetchone())
        counts = [sources.get(name, 0) for name in ("live", "shared", "cache", "failed")]
        live, shared, cached, failed = counts
        return Summary(sum(counts), live, shared, cached, failed, retries, invalid, spent, p50, p95)

    def close(self) -> None:
        self.connection.close()


def _call(row: sqlite3.Row) -> Call:
    attempts = [Attempt(**attempt) for attempt in json.loads(row["attempts"])]
    return Call(
        Place(row["scenario"], row["step"], row["stage"], row["ask"]), row["key"], row["source"], json.loads(row["messages"]), row["text"],
        row["finish"], attempts, row["seconds"], row["input_tokens"], row["output_tokens"], bool(row["estimated"]), row["money"], row["error"],
        row["choice"], row["at"],
    )  # fmt: skip
