"""What the tests of bundles share that is no fixture."""

from __future__ import annotations

import json
from io import BytesIO

import pytest
from sqlalchemy import func, select

from arena.bundle import import_bundle
from arena.bundle.archive import FIRST, measured, read_archive, read_member, write_archive
from arena.bundle.form import written
from arena.errors import ArenaError
from arena.evaluation import execute, request
from arena.store.schema import metadata


def play(store, task, candidate, seed=0, chunk=None):
    return execute(store, request(store, task, candidate, seed, chunk), task, candidate)


def board(store, task_id):
    """What a board says and how it was made, without what is a store's own."""
    own = ("task_id", "agent_id", "run_set", "updated", "verified")
    lines = store.board(task_id, with_draws=True)
    return [{k: v.tobytes() if k == "draws" else v for k, v in line.items() if k not in own} for line in lines]


def counts(store):
    with store.reading() as connection:
        return {table.name: connection.scalar(select(func.count()).select_from(table)) for table in metadata.sorted_tables}


def members(path):
    """name -> content"""
    with open(path, "rb") as file:
        return {name: read_member(file, member) for name, member in read_archive(file, path.name).items()}


def packed(files, manifest=None):
    """A bundle of these files whose manifest is right, unless it is given."""
    rest = [(measured(name, content), content) for name, content in sorted(files.items()) if name != FIRST]
    if manifest is None:
        manifest = json.loads(files[FIRST]) | {"files": {m.name: {"sha256": m.sha256, "bytes": m.size} for m, _ in rest}}
    first = manifest if isinstance(manifest, bytes) else written(manifest)
    file = BytesIO()
    write_archive(file, [(measured(FIRST, first), first), *rest])
    return file.getvalue()


def refused(store, path, content):
    """The error with which these bytes are refused; the store stays as it was."""
    before = counts(store)
    path.write_bytes(content)
    with pytest.raises(ArenaError) as error:
        import_bundle(store, path)
    assert counts(store) == before and not list((store.home / "recordings").glob("*/*"))
    assert error.value.code.startswith("bundle.") and error.value.exit_code == 5 and error.value.hint
    return error.value
