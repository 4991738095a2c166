"""One kept-alive connection to an agent's server: to addresses that were allowed, every request under one deadline.

On httpcore (what httpx sends with): its network backend is where an address can be fixed while Host and TLS keep the name, and where a
deadline can hold against a server that sends a byte now and then. It follows no redirects, reads no proxy settings and unpacks nothing.
"""

from __future__ import annotations

import os
import re
import select
import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import certifi
import httpcore

from arena.adapters.addresses import Place, resolve
from arena.adapters.http_wire import Violation
from arena.errors import ArenaError

CONNECT_S = 5.0
MAX_REPLY = 64_000_000  # bytes
QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux; holds until the next read


@dataclass(frozen=True)
class Reply:
    """seconds: from the first byte sent (connecting included) to the last one received"""

    status: int
    media: str
    location: str
    body: bytes
    seconds: float


class Connection:
    """Not for several threads at once. `ask` connects where that is needed; `close` may be called more than once."""

    def __init__(self, place: Place, token_env: str | None = None, allow_private: bool = False) -> None:
        self.place, self.token_env = place, token_env
        self.backend = _Backend(place, allow_private)
        context = None
        if place.scheme == "https":
            context = ssl.create_default_context(cafile=certifi.where())
            context.load_default_certs()  # SSL_CERT_FILE: an authority of one's own
        self.pool = httpcore.ConnectionPool(ssl_context=context, max_connections=1, retries=1, network_backend=self.backend)

    def ask(self, method: str, path: str, seconds: float, media: str, body: bytes = b"") -> Reply:
        """One request. It is tried again only where no connection was made, so nothing is ever done twice.

        Raises ArenaError `agent.timeout`, `agent.died` (refused, reset, closed), `agent.address`, `agent.token`; Violation for what is no HTTP
        and for a reply that is too large.
        """
        url = f"{self.place.origin}{self.place.path}{path}"
        headers: list[tuple[bytes | str, bytes | str]] = [("Accept", media), ("User-Agent", "arena")]
        if body:
            headers.append(("Content-Type", media))
        if self.token_env:
            headers.append(("Authorization", f"Bearer {token(self.token_env)}"))
        start = time.monotonic()
        self.backend.deadline = start + seconds
        timeout = {"connect": CONNECT_S, "pool": CONNECT_S}
        try:
            with self.pool.stream(method, url, headers=headers, content=body or None, extensions={"timeout": timeout}) as response:
                whole = bytearray()
                for piece in response.iter_stream():
                    whole += piece
                    if len(whole) > MAX_REPLY:
                        raise Violation(f"the reply is larger than {MAX_REPLY:,} bytes")
            seen = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        except httpcore.ConnectTimeout:
            limit = min(CONNECT_S, seconds)
            raise ArenaError("agent.timeout", f"no connection to {self.place.origin} in {limit:.3g} s", "is the server up?") from None
        except httpcore.TimeoutException:
            raise ArenaError("agent.timeout", f"no answer to {method} {path} in {seconds:.3g} s") from None
        except httpcore.ConnectError as error:
            raise ArenaError("agent.died", f"no connection to {self.place.origin}: {error}", "is the server up?") from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            text = str(error)
            if isinstance(error, httpcore.NetworkError) or "disconnected" in text or "peer closed" in text:
                raise ArenaError("agent.died", f"the server broke off during {method} {path}: {text or 'connection reset'}") from None
            raise Violation(f"its reply is no HTTP: {text}") from None
        media = seen.get(b"content-type", "").partition(";")[0].strip().lower()
        return Reply(response.status, media, seen.get(b"location", ""), bytes(whole), time.monotonic() - start)

    def close(self) -> None:
        self.pool.close()


def token(name: str) -> str:
    """The secret in an environment variable. Raises ArenaError `agent.token`, which never shows it."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise ArenaError("agent.token", f"the environment variable {name} is not set", f"the agent's token is read from it: export {name}=...")
    if not re.fullmatch(r"[!-~]+", value):
        raise ArenaError("agent.token", f"the value of {name} cannot be sent in a header", "a token is printable ASCII without spaces")
    return value


class _Backend(httpcore.NetworkBackend):
    """Connects to the addresses found at first and to no others; `deadline` (of time.monotonic) holds for all that its streams do."""

    def __init__(self, place: Place, allow_private: bool) -> None:
        self.place, self.allow_private = place, allow_private
        self.addresses: tuple[str, ...] = ()
        self.tried = 0
        self.deadline = 0.0

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        if not self.addresses:
            self.addresses = resolve(self.place, self.allow_private)
        address = self.addresses[self.tried % len(self.addresses)]
        try:
            sock = socket.create_connection((address, port), self.left(timeout))
        except OSError as error:
            self.tried += 1  # the next address, if there are several
            if isinstance(error, TimeoutError):
                raise httpcore.ConnectTimeout(f"{address} does not answer") from error
            raise httpcore.ConnectError(f"{address}: {error.strerror or error}") from error
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Stream(sock, self)

    def left(self, timeout: float | None = None) -> float:
        """Seconds until the deadline, at most `timeout`. Raises TimeoutError when it has passed."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left if timeout is None else min(left, timeout)


class _Stream(httpcore.NetworkStream):
    def __init__(self, sock: socket.socket, backend: _Backend) -> None:
        self.sock, self.backend = sock, backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            self.sock.settimeout(self.backend.left())
            if QUICKACK is not None:  # servers that send head and body apart would wait 40 ms for the acknowledgement of the head
                self.sock.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)
            return self.sock.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout from error
        except OSError as error:
            raise httpcore.ReadError(error.strerror or str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        rest = memoryview(buffer)
        try:
            while rest:
                self.sock.settimeout(self.backend.left())
                rest = rest[self.sock.send(rest) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout from error
        except OSError as error:
            raise httpcore.WriteError(error.strerror or str(error)) from error

    def close(self) -> None:
        self.sock.close()

    def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None) -> httpcore.NetworkStream:
        try:
            self.sock.settimeout(self.backend.left(timeout))
            return _Stream(ssl_context.wrap_socket(self.sock, server_hostname=server_hostname), self.backend)
        except OSError as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise httpcore.ConnectTimeout("no TLS handshake") from error
            raise httpcore.ConnectError(str(error)) from error

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # between two requests this can only mean that the server has closed the connection
            poller = select.poll()
            poller.register(self.sock, select.POLLIN)
            return bool(poller.poll(0))
        return None
