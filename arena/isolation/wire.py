"""What passes between a host and an agent's process: msgpack frames over a socket, arrays in shared memory beside it.

Either side writes into a region of its own and reads the other's. A frame is 4 bytes of length, then msgpack; an array in it is a
reference (dtype, shape, offset) into the sender's region. Reading copies, and checks every reference against the region first: what an
agent sends may be wrong in any way, and is data only.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import socket
import struct
import time
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

ARRAY, BIG, ODD = 1, 2, 3  # msgpack extension types
PIECE = 1 << 15  # bytes read at once; a larger buffer costs more to allocate than a message to read
FRAME = 64_000_000  # bytes of one frame at most
REGION = 1 << 30  # bytes of one region at most
SEAL = fcntl.F_SEAL_SHRINK  # who shrinks a region another process maps would kill that one with SIGBUS
DTYPES = frozenset(np.dtype(kind).str for kind in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"))


class Broken(Exception):
    """The other side is gone (`eof`) or does not keep to the protocol."""

    def __init__(self, reason: str, eof: bool = False) -> None:
        super().__init__(reason)
        self.eof = eof


class Region:
    """Shared memory that one side writes and the other reads. It only grows."""

    def __init__(self, fd: int | None = None) -> None:
        if fd is None:
            fd = os.memfd_create("arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEAL)
        self.fd, self.size = fd, 0
        self.map: Any = None  # mmap
        self.used = 0

    def put(self, array: NDArray[Any]) -> int:
        """Copy an array into the region; its offset."""
        start = -(-self.used // 64) * 64
        self.used = start + array.nbytes
        if self.used > self.size:
            self.grow(max(self.used, 2 * self.size, 1 << 16))
        if array.nbytes:
            np.frombuffer(self.map, array.dtype, array.size, start)[...] = array.reshape(-1)
        return start

    def grow(self, size: int) -> None:
        if size > REGION:
            raise Broken(f"a message of {size} bytes, at most {REGION} are passed")
        os.ftruncate(self.fd, size)
        self.remap(size)

    def remap(self, size: int) -> None:
        self.map, self.size = mmap.mmap(self.fd, size), size

    def get(self, dtype: str, shape: list[int], start: int) -> NDArray[Any]:
        """A copy of the array at an offset. Raises Broken for a reference that does not lie within the region."""
        if dtype not in DTYPES or not all(isinstance(n, int) and n >= 0 for n in (*shape, start)):
            raise Broken(f"an array of dtype {dtype!r}, shape {shape!r}")
        kind, count = np.dtype(dtype), 1
        for n in shape:
            count *= n
        end = start + count * kind.itemsize
        if end > self.size:
            there = os.fstat(self.fd).st_size
            if end > min(there, REGION):
                raise Broken(f"an array that ends at byte {end} of {there}")
            self.remap(there)
        if not count:
            return np.zeros(shape, kind)
        return np.frombuffer(self.map, kind, count, start).reshape(shape).copy()

    def close(self) -> None:
        self.map = None
        os.close(self.fd)


class Channel:
    """One end of the connection: `mine` is written, `theirs` is read."""

    def __init__(self, sock: socket.socket, mine: Region, theirs: Region) -> None:
        self.sock, self.mine, self.theirs = sock, mine, theirs
        self.poller = select.poll()
        self.poller.register(sock, select.POLLIN)

    def send(self, message: Any) -> None:
        self.mine.used = 0
        body = msgpack.packb(message, default=self._pack)
        try:
            self.sock.sendall(struct.pack("<I", len(body)) + body)
        except OSError as error:
            raise Broken(f"nobody listens ({error.strerror})", eof=True) from error

    def receive(self, deadline: float | None = None) -> Any:
        """The next message. Raises TimeoutError at the deadline (of time.monotonic), Broken."""
        found = self._read(b"", 4, deadline)
        (length,) = struct.unpack_from("<I", found)
        if length > FRAME:
            raise Broken(f"a frame of {length} bytes, at most {FRAME} are read")
        body = self._read(found[4:], length, deadline)
        if len(body) > length:
            raise Broken("two answers to one request")
        try:
            return msgpack.unpackb(body, ext_hook=self._unpack, strict_map_key=False, raw=False)
        except Broken:
            raise
        except Exception as error:
            raise Broken(f"a message that cannot be read ({type(error).__name__}: {error})") from error

    def _read(self, found: bytes, wanted: int, deadline: float | None) -> bytes:
        """`found` and what follows it, until there are `wanted` bytes; more where they have arrived."""
        while len(found) < wanted:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self.poller.poll(left if left is None else left * 1000) and left is not None:
                raise TimeoutError
            try:
                piece = self.sock.recv(PIECE)
            except OSError as error:
                raise Broken(f"the connection broke ({error.strerror})", eof=True) from error
            if not piece:
                raise Broken("the process is gone", eof=True)
            found += piece
        return found

    def _pack(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            value = np.asarray(value, order="C")  # ascontiguousarray would make a scalar a vector
            return msgpack.ExtType(ARRAY, msgpack.packb([value.dtype.str, list(value.shape), self.mine.put(value)]))
        if isinstance(value, int):
            return msgpack.ExtType(BIG, b"%d" % value)
        if isinstance(value, Odd):
            return msgpack.ExtType(ODD, msgpack.packb([value.kind, value.text]))
        raise TypeError(f"{type(value).__name__} is not passed between processes")

    def _unpack(self, code: int, data: bytes) -> Any:
        if code == ARRAY:
            dtype, shape, start = msgpack.unpackb(data)
            return self.theirs.get(dtype, shape, start)
        if code == BIG and len(data) < 1000:
            return int(data)
        if code == ODD:
            return odd(*msgpack.unpackb(data))
        raise Broken(f"an unknown extension type {code}")

    def close(self) -> None:
        self.sock.close()
        self.mine.close()
        self.theirs.close()


class Odd:
    """Something an agent answered that is no number: only its kind and its text are passed on."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind, self.text = kind[:80], text[:200]

    def __repr__(self) -> str:
        return self.text


def odd(kind: str, text: str) -> Any:
    """An `Odd` whose type has the name of the original's, as errors print it."""
    return type(str(kind)[:80] or "unknown", (Odd,), {})(str(kind), str(text))
