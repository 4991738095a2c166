"""A worker: does the jobs that wait, plays the runs that wait, takes over those whose worker died."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from arena import registry
from arena.engines import Engine
from arena.errors import ArenaError
from arena.evaluation import Report, execute, request, stored_candidate, stored_opponent
from arena.leases import renewing, worker_name
from arena.registration import register, requested
from arena.store import JobRow, RunRow, Store
from arena.task import Task

Json = dict[str, Any]
LOOK = 1.0  # seconds between looks at an empty queue
KEPT = 10_000  # jobs and runs that a worker remembers: it may work for months
TRIES = 3  # at a run that the machine keeps from being played


@dataclass
class Worker:
    """One worker on one store. tell: what it does, in words; begin: called before a run is played; report: how far that is."""

    store: Store
    engine: Engine
    device: str = "cpu"
    tell: Callable[[str], None] = lambda text: None
    begin: Callable[[RunRow, Task, str], None] = lambda run, task, agent: None
    report: Report | None = None
    done: Json = field(default_factory=lambda: {"jobs": [], "runs": []})  # the newest `KEPT` of each
    total: Counter[str] = field(default_factory=Counter)  # jobs, runs; failed ones of both
    tries: Counter[int] = field(default_factory=Counter)

    def run(self, once: bool = False) -> Json:
        """Work until interrupted, with `once` until nothing waits; what was done."""
        owner = worker_name()
        while True:
            job = self.store.next_job(owner)
            if job is not None:
                self.do(job, owner)
                continue
            run = self._stalled(owner) or self.store.next_queued(owner)
            if run is not None:
                self.play(run, owner)
            elif once:
                return self.done
            else:
                time.sleep(LOOK)

    def _stalled(self, owner: str) -> RunRow | None:
        """A run whose worker died, taken over."""
        for run in self.store.stalled():
            try:
                if self.store.acquire(run.id, owner):
                    return self.store.run_row(run.id)
            except ArenaError as error:
                if error.code != "run.owned":
                    raise
        return None

    def _note(self, what: str, row: Json) -> None:
        self.total.update((what, "failed") if row["status"] == "failed" else (what,))
        self.done[what].append(row)
        del self.done[what][:-KEPT]

    # ---- jobs -----------------------------------------------------------------------------------------------------

    def do(self, job: JobRow, owner: str) -> None:
        """Do one job and note what became of it; whatever is wrong with it is its result."""
        result: Json | None = None
        run_id, status = None, "done"
        try:
            with renewing(lambda: self.store.renew_job(job.id, owner)):
                if job.kind == "run":
                    run_id = self._request(job.spec)
                else:
                    result = self._register(job)
        except ArenaError as error:
            status, checks = "failed", error.context.get("checks", [])
            result = {"code": error.code, "message": error.message, "hint": error.hint, "checks": checks}
        except KeyboardInterrupt:
            self.store.end_job(job.id, owner, "queued")
            raise
        except Exception as error:
            status, result = "failed", {"code": "internal", "message": f"{type(error).__name__}: {error}", "hint": "", "checks": []}
        self.store.end_job(job.id, owner, status, result, run_id)
        if result is not None and status == "failed":
            self.store.event(None, "error", str(result["code"]), str(result["message"]), job_id=job.id)
        words = f"run {run_id}" if run_id is not None else str((result or {}).get("agent") or (result or {}).get("message"))
        self.tell(f"job {job.id} ({job.kind}) {status}: {words}")
        self._note("jobs", {"job": job.id, "kind": job.kind, "status": status, "run": run_id, "result": result})

    def _request(self, spec: Json) -> int:
        task, candidate = registry.task(str(spec["task"])), registry.candidate(str(spec["agent"]))
        return request(self.store, task, candidate, int(spec.get("seed") or 0), reference=str(spec["task"])).id

    def _register(self, job: JobRow) -> Json:
        checks: list[Json] = []

        def tell(rule: str, ok: bool | None, detail: str) -> None:
            checks.append({"rule": rule, "ok": ok, "detail": detail})
            self.store.event(None, "error" if ok is False else "info", f"check.{rule}", detail, {"ok": ok}, job_id=job.id)

        wanted = requested(job.spec)
        self.store.event(None, "info", "check.begin", f"{wanted.name} is checked on a small task", job_id=job.id)
        found = register(self.store, wanted, tell)
        self.store.event(None, "info", "agent.registered", f"{found.row.reference} {'registered' if found.new else 'was registered'}", job_id=job.id)
        return {"agent": found.row.reference, "checks": checks}

    # ---- runs -----------------------------------------------------------------------------------------------------

    def play(self, run: RunRow, owner: str) -> None:
        """Play one run that is ours. What keeps it from being played is told; after `TRIES` of that it waits no longer but has failed."""
        from arena.cli.opening import task_of_run

        error: ArenaError | None = None
        try:
            task, candidate, opponent = task_of_run(self.store, run), stored_candidate(self.store, run.id), stored_opponent(self.store, run)
            self.begin(run, task, candidate.name if opponent is None else f"{candidate.name} against {opponent.name}")
            run = execute(self.store, run, task, candidate, self.report, self.device, self.engine, owner, opponent)
        except KeyboardInterrupt:
            self.store.release(run.id, owner, "queued")
            raise
        except Exception as problem:
            error = problem if isinstance(problem, ArenaError) else ArenaError("internal", f"{type(problem).__name__}: {problem}")
            self._set_aside(run, owner, error)
        run = self.store.run_row(run.id)
        self.tell(f"run {run.id}: {run.status}" + (f" ({error.message})" if error else ""))
        self._note("runs", {"run": run.id, "status": run.status, "error": error and error.code})

    def _set_aside(self, run: RunRow, owner: str, error: ArenaError) -> None:
        """A run that could not be played: failed where it cannot be loaded at all, else it waits for another try, if not for ever."""
        if error.code == "run.lost":
            return
        self.tries[run.id] += 1
        held = self.store.run_row(run.id)
        if held.owner == owner:  # it did not come so far as to be given back
            self.store.event(run.id, "error", error.code, str(error))
            self.store.release(run.id, owner, "failed")
        elif held.status == "queued" and self.tries[run.id] >= TRIES:
            if self.store.acquire(run.id, owner):
                self.store.event(run.id, "error", "run.gave_up", f"{TRIES} times: {error.message}")
                self.store.release(run.id, owner, "failed")
        else:
            time.sleep(LOOK)
