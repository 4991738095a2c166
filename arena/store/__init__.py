"""What is kept: agents, tasks, runs, measurements, standings, recordings. SQLite by default, PostgreSQL by URL.

with open_store(None, Path("~/.arena")) as store:
    print(store.board("bidding/standard-v1"))
"""

from arena.store.recordings import Salvage, read_recording, salvage_recording, write_recording
from arena.store.records import (
    AgentRow,
    ChunkResult,
    EntryRequest,
    EntryRow,
    Failure,
    JobRow,
    MetricRecord,
    PoolInput,
    RatingRecord,
    RunRequest,
    RunRow,
    StandingRecord,
    SuiteInput,
    SuiteMember,
    Suites,
    Summarise,
    TaskRecord,
    TaskRow,
    Timing,
)
from arena.store.store import Store, open_store, upgrade_store

__all__ = [
    "AgentRow",
    "ChunkResult",
    "EntryRequest",
    "EntryRow",
    "Failure",
    "JobRow",
    "MetricRecord",
    "PoolInput",
    "RatingRecord",
    "RunRequest",
    "RunRow",
    "Salvage",
    "StandingRecord",
    "Store",
    "SuiteInput",
    "SuiteMember",
    "Suites",
    "Summarise",
    "TaskRecord",
    "TaskRow",
    "Timing",
    "open_store",
    "read_recording",
    "salvage_recording",
    "upgrade_store",
    "write_recording",
]
