"""What the tests of all adapters share."""

from __future__ import annotations

import pytest
import torch

from arena.rollout import players, rollout


@pytest.fixture
def played():
    """`played(task, {role: agent}, rows)` -> the episodes of test scenarios `rows` (all by default)."""

    def play(task, agents, rows=None, seed=0):
        rows = range(task.n) if rows is None else rows
        ids = torch.tensor(list(rows))
        return rollout(task.domain, task.sample("test", rows), players(task.domain, agents), task=task.view, ids=ids, seed=seed)

    return play
