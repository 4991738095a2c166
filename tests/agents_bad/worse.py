"""Agents that take their process with them, or what belongs to others: one for every way in which a process can go wrong."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch

from arena.agent import Agent


class Steady(Agent):
    """Bids 50; `misbehave` is called at the fifth decision of the chunks that hold scenario 0, or of all chunks."""

    always = True

    def begin(self, brief):
        self.brief, self.step = brief, -1

    def act(self, obs):
        self.step += 1
        if self.step == 4 and (self.always or bool((self.brief.scenario == 0).any())):
            self.misbehave()
        return torch.full((len(obs["live"]),), 50)

    def misbehave(self):
        raise NotImplementedError


class Exits(Steady):
    def misbehave(self):
        print("I have had enough", flush=True)
        os._exit(7)


class TellsItsFolder(Exits):
    def misbehave(self):
        Path("left behind").write_text("x")
        print(os.getcwd(), flush=True)
        os._exit(7)


class ExitsOnce(Exits):
    always = False


class Segfaults(Steady):
    def misbehave(self):
        ctypes.string_at(0)


class IsKilled(Steady):
    def misbehave(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Hangs(Steady):
    def misbehave(self):
        while True:
            time.sleep(0.05)


class HangsDeaf(Steady):
    """Deaf to every signal it can be deaf to."""

    def misbehave(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU):
            signal.signal(number, signal.SIG_IGN)
        while True:
            pass


class HangsInBegin(Steady):
    def begin(self, brief):
        time.sleep(1000)


class BurnsProcessor(Steady):
    """Threads of C code that burn more processor time than the clock allows one core, while it answers in time."""

    def misbehave(self):
        while True:
            pass


class AllocatesAtOnce(Steady):
    def misbehave(self):
        self.hoard = np.ones(10**10)


class AllocatesInTorch(Steady):
    def misbehave(self):
        self.hoard = torch.ones(10**10)


class Leaks(Steady):
    """Memory that was never asked for at once, in children of its own: only looking at it finds that."""

    def misbehave(self):
        code = "import time; hoard = bytearray(400_000_000); hoard[::4096] = b'x' * len(hoard[::4096]); time.sleep(100)"
        self.children = [subprocess.Popen([sys.executable, "-S", "-c", code]) for _ in range(2)]
        time.sleep(100)


class Aborts(Steady):
    """As a C++ library does that cannot have memory."""

    def misbehave(self):
        os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
        os.abort()


class LeavesChildren(Steady):
    """Children in its session, in sessions of their own, and daemons whose parents have gone; then it exits."""

    def misbehave(self):
        sleep = [sys.executable, "-S", "-c", f"import time; time.sleep(1000)  # {self.brief.seed} arena-orphan"]
        subprocess.Popen(sleep)
        subprocess.Popen(sleep, start_new_session=True)
        subprocess.run(["/bin/sh", "-c", 'setsid "$0" "$@" & exit 0', *sleep], check=True)
        time.sleep(0.2)
        if os.environ.get("HOME") != os.getcwd():
            raise RuntimeError("not in its own folder")
        os._exit(0)


class KeepsChildren(LeavesChildren):
    """The same, but it plays on; they must be gone when it is closed."""

    def misbehave(self):
        sleep = [sys.executable, "-S", "-c", "import time; time.sleep(1000)  # arena-orphan"]
        subprocess.run(["/bin/sh", "-c", 'setsid "$0" "$@" & exit 0', *sleep], check=True)


class Floods(Steady):
    """Prints 50 MB; nobody may wait for that or keep it."""

    def misbehave(self):
        line = b"x" * 99_999 + b"\n"
        for _ in range(500):
            os.write(1, line)
        os.write(1, b"the end\n")


class ClosesEverything(Steady):
    def misbehave(self):
        os.closerange(0, 256)


class TalksOutOfTurn(Steady):
    """Writes into every socket it has."""

    def misbehave(self):
        for fd in range(3, 64):
            try:
                os.write(fd, b"\x05\x00\x00\x00hello")
            except OSError:
                continue


class FakesAnArray(Steady):
    """Answers with a frame of its own making that refers to memory which is not there."""

    def misbehave(self):
        import msgpack

        body = msgpack.packb({"ok": msgpack.ExtType(1, msgpack.packb(["<i8", [2**40], 2**50]))})
        for fd in range(3, 64):
            try:
                os.write(fd, len(body).to_bytes(4, "little") + body)
            except OSError:
                continue
        time.sleep(100)


class Pickles(Steady):
    """Sends a pickle that would write a file if anybody read it."""

    def misbehave(self):
        import pickle

        class Evil:
            def __reduce__(self):
                return os.system, (f"touch {Path(__file__).with_name('pwned')}",)

        for fd in range(3, 64):
            try:
                os.write(fd, pickle.dumps(Evil()))
            except OSError:
                continue
        time.sleep(100)


class AnswersForEver(Steady):
    """An answer that is larger than any message may be."""

    def act(self, obs):
        self.step += 1
        return ["x" * 10_000_000] * 8 if self.step == 4 else torch.full((len(obs["live"]),), 50)


class AnswersTwice(Steady):
    """Becomes two processes, both of which go on playing."""

    def misbehave(self):
        os.fork()


class Nested(Steady):
    def act(self, obs):
        self.step += 1
        answer = [50]
        answer.append(answer)
        return answer if self.step == 4 else torch.full((len(obs["live"]),), 50)


class StartsThreads(Steady):
    def misbehave(self):
        for _ in range(8):
            threading.Thread(target=time.sleep, args=(1000,), daemon=False).start()


class Secretive(Steady):
    """Bids 50 only where it sees no secret; `ARENA_ALLOWED` it was given by name."""

    def misbehave(self):
        seen = {name for name in os.environ if "SECRET" in name or name.startswith("ARENA_STORE")}
        if seen:
            raise RuntimeError(f"sees {sorted(seen)}")
        print("allowed:", os.environ.get("ARENA_ALLOWED"), flush=True)


class SavesUp(Steady):
    """Slower than a decision may be, for a while: the bank pays."""

    def misbehave(self):
        time.sleep(0.3)


class BlamesTheMachine(Steady):
    def misbehave(self):
        from arena.errors import ArenaError

        raise ArenaError("infra.worker", "it was the machine", "play it again")


class CannotLoad:
    def __init__(self):
        print("reading the weights", flush=True)
        raise FileNotFoundError("weights.bin")

    def act(self, obs):
        return 50


class DiesLoading:
    def __init__(self):
        os._exit(9)

    def act(self, obs):
        return 50


class HangsLoading:
    def __init__(self):
        time.sleep(1000)

    def act(self, obs):
        return 50


class LoadsOnce(Exits):
    """Breaks down, and can then not be made again."""

    def __init__(self, sign: str):
        if Path(sign).exists():
            raise RuntimeError("once was enough")
        self.sign = sign

    def misbehave(self):
        Path(self.sign).touch()
        os._exit(7)


class EndsItsWorkers(Steady):
    """Kills the process above its own, the first times that it is in the chunk of scenario 0; `sign` is a folder that counts them."""

    def __init__(self, sign: str, times: int = 1):
        self.sign, self.times = Path(sign), times

    def misbehave(self):
        done = len(list(self.sign.iterdir()))
        if done < self.times and bool((self.brief.scenario == 0).any()):
            (self.sign / str(done)).touch()
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(100)


class EndsTheWorker(EndsItsWorkers):
    """Kills the process it is in: without walls that is the worker."""

    def misbehave(self):
        done = len(list(self.sign.iterdir()))
        if done < self.times and bool((self.brief.scenario == 0).any()):
            (self.sign / str(done)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
