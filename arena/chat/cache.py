"""Answers that were paid for once: SQLite, keyed by everything that decides an answer. No key, no address of a server is in it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arena.chat.database import folder, opened
from arena.chat.endpoint import Answer
from arena.digest import digest

SCHEMA = """CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, text TEXT NOT NULL, finish TEXT NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, estimated INTEGER NOT NULL, at REAL NOT NULL
) WITHOUT ROWID"""


def key_of(model: str, body: Mapping[str, Any], sample: str, version: str) -> str:
    """sha256 of the canonical JSON of model, messages and sampling parameters (`body`), sample and version of the prompts."""
    return digest({"model": model, "body": body, "sample": sample, "version": version})


class Cache:
    """`HOME/chat/answers.sqlite` unless a path is given."""

    def __init__(self, path: Path | None = None) -> None:
        self.connection = opened(path or folder() / "answers.sqlite", SCHEMA)

    def get(self, key: str) -> Answer | None:
        query = "SELECT text, finish, input_tokens, output_tokens, estimated FROM answers WHERE key = ?"
        row = self.connection.execute(query, (key,)).fetchone()
        return None if row is None else Answer(row[0], row[1], row[2], row[3], bool(row[4]))

    def put(self, key: str, model: str, answer: Answer) -> None:
        values = (key, model, answer.text, answer.finish, answer.input_tokens, answer.output_tokens, answer.estimated, time.time())
        self.connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def close(self) -> None:
        self.connection.close()
