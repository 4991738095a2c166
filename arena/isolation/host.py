"""The host's side: an `Agent` like any other, whose code runs in a process of its own."""

from __future__ import annotations

import atexit
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgpack

from arena import settings
from arena.agent import Agent, Brief, Observation
from arena.errors import ArenaError
from arena.isolation.limits import Limits
from arena.isolation.wire import Broken, Channel, Region

if TYPE_CHECKING:
    from arena.task import TaskView

KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
GRACE = 1.0  # seconds that a process whose socket has closed may take to be gone
OUTPUT = 2000  # characters of an agent's output that stand in an error


class Nurse:
    """This process's connection to its nursery; started on first use, ended with the process."""

    def __init__(self) -> None:
        if not sys.platform.startswith("linux"):
            raise ArenaError("agent.isolation", f"agents of others run in processes of their own on Linux only, not on {sys.platform}")
        self.pid, self.lock, self.tokens = os.getpid(), threading.Lock(), itertools.count(1)
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment |= {"PYTHONPATH": paths, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "arena.isolation.nursery", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self.prepared: set[tuple[str, str | None]] = set()

    def ask(self, do: str, fds: Sequence[int] = (), **more: Any) -> Any:
        """One request to the nursery. Raises ArenaError `infra.nursery` where it is gone: nobody's agent is to blame."""
        with self.lock:
            try:
                socket.send_fds(self.control, [msgpack.packb({"do": do, **more})], list(fds))
                answer = msgpack.unpackb(self.control.recv(1 << 20) or b"\xc0")
            except OSError:
                answer = None
            except BaseException:  # Ctrl-C while it thinks: what it answers must not be taken for the answer to another question
                self.control.close()
                raise
        if answer is None:
            raise ArenaError("infra.nursery", "the process that starts agents is gone", "the run is kept: arena resume goes on")
        if "error" in answer:
            raise ArenaError("infra.nursery", f"an agent's process could not be {do}ed: {answer['error']}", "the run is kept: arena resume goes on")
        return answer["ok"]

    def prepare(self, task: str) -> None:
        """Have a task loaded once for all agents; one that cannot be loaded there is told when the agent asks for it."""
        key = (task, str(settings.data_root()) if settings.data_root() else None)
        if key not in self.prepared:
            self.prepared.add(key)
            try:
                self.ask("prepare", task=task, data=key[1])
            except ArenaError:
                if self.process.poll() is not None:
                    raise

    def close(self) -> None:
        self.control.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


_nurse: Nurse | None = None
_starting = threading.Lock()


def nurse() -> Nurse:
    """The nursery of this process; a new one after a fork or where the old one has died."""
    global _nurse
    with _starting:
        if _nurse is None or _nurse.pid != os.getpid() or _nurse.control.fileno() < 0 or _nurse.process.poll() is not None:
            _nurse = Nurse()
            atexit.register(_nurse.close)
        return _nurse


class Isolated(Agent):
    """An agent in its own process.

    source: how it is made there (`arena.registry.build`); label: its name in errors; environment: variables it may see, by name
    task: which task it is to play, so that it starts with it loaded, under the task's limits; device "cpu" limits its address space too
    Raises ArenaError `agent.incompatible` where it cannot be made. Later failures have the codes agent.crash, .died, .timeout and .memory;
    after one the process is gone, and the next `begin` starts another.
    """

    def __init__(self, source: Mapping[str, Any], label: str, task: TaskView | None = None, environment: Sequence[str] = ()) -> None:
        self.source, self.label, self.environment = dict(source), label, tuple(environment)
        self.limits = Limits.of(task.limits) if task is not None else Limits()
        self.task = task.reference if task is not None else ""
        self.channel: Channel | None = None
        self.peak_rss, self.output, self.bank, self.seq = 0, "", 0.0, 0
        self._start()

    # ---- the contract ---------------------------------------------------------------------------------------------

    def check(self, task: TaskView) -> None:
        self._alive()
        self._ask("check", self.limits.begin_s, "check", task=task.reference)

    def begin(self, brief: Brief) -> None:
        self._alive()
        self.usage, self.output, self.rows = {}, "", len(brief)
        self.bank = self.limits.bank_s * self.rows
        self.peak_rss = self.nurse.ask("grant", token=self.token, cpu_s=self.limits.cpu_of(self.rows, brief.horizon))
        told = {name: getattr(brief, name) for name in ("role", "mode", "horizon", "seed", "seat")}
        told |= {"task": brief.task.reference, "device": str(brief.device), "scenario": brief.scenario.numpy(force=True)}
        self._ask("begin", self.limits.begin_s, "begin", **told)

    def act(self, obs: Observation) -> Any:
        rows = int(obs["live"].sum())
        answer = self._ask("act", rows * self.limits.act_s, f"act on {rows} scenarios", obs={name: t.numpy(force=True) for name, t in obs.items()})
        return answer

    def end(self) -> None:
        self.usage = self._ask("end", self.limits.begin_s, "end")
        self._look()

    def _look(self) -> None:
        self.peak_rss, printed = self.nurse.ask("look", token=self.token)
        self.output = printed.decode("utf-8", "replace")

    def close(self) -> None:
        if self.channel is not None:
            with suppress(ArenaError):  # a nursery that is gone has taken it along
                self._stop(0.0)

    # ---- the process ----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.nurse = keeper = nurse()
        if self.task:
            keeper.prepare(self.task)
        mine, theirs = socket.socketpair()
        regions = Region(), Region()
        self.token = next(keeper.tokens)
        limits = asdict(self.limits) | {"gpu": settings.setting("device").value != "cpu"}
        variables = {name: os.environ[name] for name in self.environment if name in os.environ}
        with theirs:
            fds = [theirs.fileno(), regions[1].fd, regions[0].fd]
            keeper.ask("fork", fds, token=self.token, source=self.source, limits=limits, variables=variables)
        self.channel = Channel(mine, *regions)
        try:
            made = self._ask("make", self.limits.load_s, "be made")
        except ArenaError as error:
            self.close()
            if error.code.startswith(("agent.parameters", "unknown.", "infra.")):
                raise
            tail = f"\nit printed: {self.output[-OUTPUT:].strip()}" if self.output.strip() else ""
            hint = error.hint or "arena check shows all that is wrong with an agent"
            said = error.message if error.code == "agent.incompatible" else f"{self.label} cannot be made: {error.message}"
            raise ArenaError("agent.incompatible", said + tail, hint, **error.context) from None
        mode = made.get("mode") if isinstance(made, dict) else None
        if mode is not None and not isinstance(mode, str):
            self.close()
            raise ArenaError("agent.incompatible", f"{self.label}: mode = {mode!r}", "the name of a mode of its role, or None")
        self.mode = mode

    def _alive(self) -> None:
        if self.channel is None:
            self._start()

    def _ask(self, do: str, allowed: float, what: str, **more: Any) -> Any:
        """One request to the agent, within `allowed` seconds and what is left in the bank. Raises ArenaError; the process is gone then
        unless it reported an exception by itself."""
        channel = self.channel
        if channel is None:
            raise ArenaError("agent.died", "the agent's process is gone")
        asked, self.seq = time.monotonic(), self.seq + 1
        try:
            channel.send({"do": do, "seq": self.seq, **more})
            answer = channel.receive(asked + allowed + self.bank)
        except TimeoutError:
            self._stop(0.0)
            bank = f" and the bank of {self.bank:.3g} s" if self.bank else ""
            raise self._failure("agent.timeout", f"no answer in {time.monotonic() - asked:.3g} s; to {what} it has {allowed:.3g} s{bank}") from None
        except Broken as broken:
            raise self._gone(self._stop(GRACE if broken.eof else 0.0), broken) from None
        self.bank = max(0.0, self.bank - max(0.0, time.monotonic() - asked - allowed))
        if not isinstance(answer, dict) or ("ok" in answer) == ("error" in answer) or answer.get("seq") != self.seq:
            self._stop(0.0)
            raise self._failure("agent.died", "the agent's process does not keep to the protocol")
        if "ok" in answer:
            return answer["ok"]
        error = answer["error"]
        code, message, hint = (str(error.get(key, "")) for key in ("code", "message", "hint"))
        self._look()
        self._stop(GRACE if code == "agent.died" else 0.0)
        if code == "agent.memory":
            message += f" (limit {_mb(self.limits.memory)}, peak {_mb(self.peak_rss)}; stopped by the address space it may map)"
        believed = code.split(".")[0] in ("agent", "history", "unknown")  # it cannot blame the machine
        raise self._failure(code if believed else "agent.crash", message, hint, str(error.get("trace", "")))

    def _stop(self, grace: float) -> dict[str, Any]:
        """End the process and all it has started; how it ended, if by itself within `grace` seconds."""
        assert self.channel is not None
        self.channel.close()
        self.channel = None
        ended: dict[str, Any] = self.nurse.ask("end", token=self.token, grace=grace)
        self.output = ended["output"].decode("utf-8", "replace")
        self.peak_rss = max(self.peak_rss, ended["peak"])
        return ended

    def _gone(self, ended: Mapping[str, Any], broken: Broken) -> ArenaError:
        """Why the process ended or had to be ended."""
        code = os.waitstatus_to_exitcode(ended["status"]) if ended["status"] is not None else 0
        limit, peak = _mb(self.limits.memory), _mb(self.peak_rss)
        if ended["reason"] == "memory":
            return self._failure("agent.memory", f"over its memory: limit {limit}, peak {peak}; stopped by its resident memory")
        if code == -signal.SIGABRT and "bad_alloc" in self.output[-OUTPUT:]:
            return self._failure("agent.memory", f"over its memory: limit {limit}, peak {peak}; stopped by the address space it may map")
        if not broken.eof:
            return self._failure("agent.died", f"the agent's process does not keep to the protocol: {broken}")
        if code == -signal.SIGXCPU:
            return self._failure("agent.died", "the agent used up its processor time (SIGXCPU)", rc=code, signal="SIGXCPU")
        if code < 0:
            name = signal.Signals(-code).name
            return self._failure("agent.died", f"the agent's process was ended by signal {-code} ({name})", rc=code, signal=name)
        return self._failure("agent.died", f"the agent's process ended with exit code {code}", rc=code)

    def _failure(self, code: str, message: str, hint: str = "", trace: str = "", **context: Any) -> ArenaError:
        return ArenaError(code, message, hint, trace=trace, output=self.output, **context)


def _mb(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"
