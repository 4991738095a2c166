"""The nursery: a process that forks agents, watches their memory, keeps the end of what they print, and outlives none of them.

Started as `python -m arena.isolation.nursery FD` by its host, which speaks to it over the socket FD (one msgpack message per packet).
When the host is gone, however it died, the socket closes and every agent ends, with all processes it has started.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import msgpack

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
MARK = "ARENA_AGENT"  # environment variable by which an agent's own children are told from another's
LOOK = 0.5  # seconds between looks at the agents' memory
TAIL = 65_536  # bytes kept of what an agent prints
FILE_SIZE = 1 << 30  # bytes of one file that an agent writes
OPEN_FILES = 1024
PACKET = 1 << 16

libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Child:
    """An agent's process, and what is known of it."""

    token: int
    pid: int
    output: int  # its stdout and stderr, read here
    folder: str
    memory: float
    base: int  # bytes it holds from the start, shared with the nursery
    tail: bytearray = field(default_factory=bytearray)
    peak: int = 0  # bytes of memory of all its processes, beyond base
    status: int | None = None  # of waitpid
    reason: str = ""


class Nursery:
    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.children: dict[int, Child] = {}
        self.poller = select.poll()
        self.poller.register(control, select.POLLIN)
        self.wake, write = os.pipe()
        for fd in (self.wake, write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.poller.register(self.wake, select.POLLIN)

    def run(self) -> None:
        looked = time.monotonic()
        while True:
            for fd, _ in self.poller.poll(LOOK * 1000 if self.children else None):
                if fd == self.control.fileno():
                    if not self.serve():
                        return
                elif fd == self.wake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.wake, 4096)
                    self.reap()
                else:
                    self.listen(fd)
            if time.monotonic() - looked >= LOOK:
                looked = time.monotonic()
                for child in list(self.children.values()):
                    self.weigh(child)

    # ---- requests -------------------------------------------------------------------------------------------------

    def serve(self) -> bool:
        """Answer one request; False where the host is gone."""
        try:
            packet, fds, _, _ = socket.recv_fds(self.control, PACKET, 3)
        except OSError:
            return False
        if not packet:
            return False
        request = msgpack.unpackb(packet)
        try:
            answer = getattr(self, "do_" + request.pop("do"))(fds=fds, **request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        for fd in fds:
            os.close(fd)
        try:
            self.control.sendall(msgpack.packb(answer))
        except OSError:
            return False
        return True

    def do_prepare(self, fds: list[int], task: str, data: str | None) -> Any:
        """Load a task, so that the agents forked later have it already."""
        from arena import registry, settings

        settings.override(data=data)
        loaded = registry.task(task)
        gc.collect()
        gc.freeze()  # agents share these pages
        return {"ok": loaded.id}

    def do_fork(self, fds: list[int], token: int, source: Any, limits: Any, variables: Any) -> Any:
        folder = tempfile.mkdtemp(prefix="arena-agent-")
        output, write = os.pipe()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            become_agent(self, fds, token, source, limits, variables, folder, write)
        os.close(write)
        os.set_blocking(output, False)
        self.poller.register(output, select.POLLIN)
        self.children[token] = Child(token, pid, output, folder, limits["memory"], resident(os.getpid()))
        return {"ok": pid}

    def do_grant(self, fds: list[int], token: int, cpu_s: float) -> Any:
        """So much processor time from now on; the memory used so far."""
        child = self.children[token]
        if child.status is None:
            used = sum(os_times(child.pid))
            _, hard = resource.prlimit(child.pid, resource.RLIMIT_CPU)
            resource.prlimit(child.pid, resource.RLIMIT_CPU, (int(used + cpu_s) + 1, hard))
        self.weigh(child)
        return {"ok": child.peak}

    def do_look(self, fds: list[int], token: int) -> Any:
        child = self.children[token]
        self.weigh(child)
        self.listen(child.output)
        return {"ok": [child.peak, bytes(child.tail)]}

    def do_end(self, fds: list[int], token: int, grace: float) -> Any:
        """End an agent with all it has started; how it ended if it did so by itself within `grace` seconds."""
        child = self.children[token]
        until = time.monotonic() + grace
        while child.status is None and time.monotonic() < until:
            self.reap()
            time.sleep(0.002)
        self.kill(child)
        self.listen(child.output)
        del self.children[token]
        self.poller.unregister(child.output)
        os.close(child.output)
        self.sweep()
        shutil.rmtree(child.folder, ignore_errors=True)
        return {"ok": {"status": child.status, "reason": child.reason, "peak": child.peak, "output": bytes(child.tail)}}

    # ---- what agents do -------------------------------------------------------------------------------------------

    def reap(self) -> None:
        """Note who has died. Processes that agents left behind come here too."""
        known = {child.pid: child for child in self.children.values() if child.status is None}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in known:
                known[pid].status = status

    def listen(self, fd: int) -> None:
        """Read what an agent has printed; only the end is kept."""
        child = next((c for c in self.children.values() if c.output == fd), None)
        if child is None:
            return
        for _ in range(64):  # a flood of output must not keep the others waiting
            try:
                piece = os.read(fd, TAIL)
            except BlockingIOError:
                return
            if not piece:
                with contextlib.suppress(KeyError):
                    self.poller.unregister(fd)
                    self.poller.register(fd, 0)
                return
            child.tail += piece
            del child.tail[:-TAIL]

    def weigh(self, child: Child) -> None:
        """Look at the resident memory of an agent and of what it has started; end it where that is too much."""
        if child.status is not None:
            return
        used = max(0, sum(resident(pid) for pid in family(child.pid)) - child.base)
        child.peak = max(child.peak, used)
        if used > child.memory and not child.reason:
            child.reason = "memory"
            self.kill(child)

    def kill(self, child: Child) -> None:
        """End a process group and wait for its leader."""
        while child.status is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)  # before it has its own group
            self.reap()
            if child.status is None:
                time.sleep(0.001)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)

    def sweep(self) -> None:
        """End the processes that ended agents have left behind: they are adopted by the nursery, whatever session they are in."""
        for _ in range(1000):
            alive = {child.pid: str(child.token) for child in self.children.values()}
            strays = [pid for pid in children_of(os.getpid()) if pid not in alive and marked(pid) not in alive.values()]
            if not strays:
                return
            for pid in strays:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.reap()
            time.sleep(0.001)

    def close(self) -> None:
        for token in list(self.children):
            self.do_end([], token, 0.0)


# ---- the fork ------------------------------------------------------------------------------------------------------


def become_agent(
    nursery: Nursery, fds: list[int], token: int, source: Any, limits: Mapping[str, Any], variables: Mapping[str, str], folder: str, output: int
) -> NoReturn:
    """In the forked process: own session and limits, nothing of the nursery's, then serve."""
    from arena.isolation.player import leave, play
    from arena.isolation.wire import Channel, Region

    try:
        parent = os.getppid()
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            leave(1)
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        keep = sorted({0, 1, 2, *fds})
        for low, high in zip(keep, [*keep[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
            os.closerange(low + 1, high)
        sys.stdin = open(0, closefd=False)
        sys.stdout = sys.stderr = open(1, "w", buffering=1, errors="backslashreplace", closefd=False)
        os.chdir(folder)
        threads = str(limits["threads"])
        os.environ.update(variables)
        os.environ.update({MARK: str(token), "HOME": folder, "TMPDIR": folder, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads})
        tempfile.tempdir = folder
        import torch

        torch.set_num_threads(limits["threads"])
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
        restrict(limits)
        play(Channel(socket.socket(fileno=fds[0]), Region(fds[1]), Region(fds[2])), source)
        leave(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        leave(1)
    raise AssertionError


def restrict(limits: Mapping[str, Any]) -> None:
    """Limits the kernel keeps. The address space counts from what the libraries have mapped; CUDA maps too much for it to mean anything."""
    for name, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, FILE_SIZE), (resource.RLIMIT_NOFILE, OPEN_FILES)):
        _, hard = resource.getrlimit(name)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))
    if not limits["gpu"]:
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + int(limits["memory"]),) * 2)


# ---- /proc ---------------------------------------------------------------------------------------------------------


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def children_of(pid: int) -> list[int]:
    """The processes that any thread of a process has started and that are its children still."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [int(word) for thread in threads for word in _read(f"/proc/{pid}/task/{thread}/children").split()]


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for member in found:
        found += children_of(member)
    return found


def resident(pid: int) -> int:
    """Bytes of memory that a process holds, without files it has mapped."""
    words = _read(f"/proc/{pid}/statm").split()
    return (int(words[1]) - int(words[2])) * resource.getpagesize() if len(words) > 2 else 0


def os_times(pid: int) -> tuple[float, float]:
    """User and system seconds of a process."""
    words = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    return (int(words[11]) / tick, int(words[12]) / tick) if len(words) > 12 else (0.0, 0.0)


def marked(pid: int) -> str | None:
    """The token of the agent whose environment a process has."""
    for entry in _read(f"/proc/{pid}/environ").split("\0"):
        if entry.startswith(f"{MARK}="):
            return entry.partition("=")[2]
    return None


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    import torch

    from arena import agent, domain, legality, registry, rollout  # noqa: F401  what agents need, once for all of them
    from arena.isolation import player  # noqa: F401

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    nursery = Nursery(control)
    try:
        nursery.run()
    finally:
        nursery.close()


if __name__ == "__main__":
    main()
