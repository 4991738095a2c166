"""Which addresses an agent's URL may lead to: nobody can point this machine at itself or at its neighbours.

A name is resolved once, every address it has must be allowed, and connections go to these very addresses: what the name says later does
not matter. Numbers in disguise (`http://2130706433/`, `http://0x7f.1/`) are judged by what they resolve to.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from arena.errors import ArenaError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
CODE = "agent.address"
CGNAT = ipaddress.ip_network("100.64.0.0/10")
EMBEDDING = {  # IPv6 networks whose addresses carry an IPv4 address that a gateway would go on to
    ipaddress.ip_network("::ffff:0:0/96"): "IPv4-mapped",
    ipaddress.ip_network("::ffff:0:0:0/96"): "IPv4-translated",
    ipaddress.ip_network("64:ff9b::/96"): "NAT64",
    ipaddress.ip_network("64:ff9b:1::/48"): "NAT64",
    ipaddress.ip_network("2002::/16"): "6to4",
    ipaddress.ip_network("2001::/32"): "Teredo",
    ipaddress.ip_network("fec0::/10"): "site-local",
}


@dataclass(frozen=True)
class Place:
    """Where a server is. path: of the URL, without a slash at its end"""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{name}" + ("" if self.port == PORTS[self.scheme] else f":{self.port}")


PORTS = {"http": 80, "https": 443}


def place_of(url: str) -> Place:
    """The parts of an agent's URL. Raises ArenaError `agent.address` for what is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ArenaError(CODE, f"{_without_login(url)!r} is no URL: {error}", "write https://host[:port][/path]") from error
    if parts.scheme not in PORTS or not parts.hostname:
        raise ArenaError(CODE, f"{_without_login(url)!r} is no URL of an agent", "write https://host[:port][/path]")
    if "@" in parts.netloc:
        raise ArenaError(CODE, "the URL holds a user name or password", "put the secret into an environment variable and name that: token_env")
    if parts.query or parts.fragment or not re.fullmatch(r"[!-~]*", url) or "\\" in url:
        raise ArenaError(CODE, f"the URL of {parts.hostname!r} has more than host, port and path", "write https://host[:port][/path]")
    return Place(parts.scheme, parts.hostname, port or PORTS[parts.scheme], parts.path.rstrip("/"))


def refused(address: Address) -> str | None:
    """Why an address is not open to agents: the kind of its network. None for one of the public internet."""
    if address.is_loopback:
        return "loopback"
    if address.is_unspecified:
        return "unspecified"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    for network, kind in EMBEDDING.items():
        if address in network:
            return kind
    if address in CGNAT:
        return "carrier-grade NAT"
    if address.is_private:
        return "private"
    return None if address.is_global and not address.is_reserved else "reserved"


def resolve(place: Place, allow_private: bool = False) -> tuple[str, ...]:
    """The numeric addresses to connect to. Raises ArenaError `agent.address` where one of them is not allowed, or there is none."""
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ArenaError(CODE, f"{place.host!r} cannot be resolved: {reason}", "is the name right, and known to this machine?") from error
    texts = list(dict.fromkeys(str(item[4][0]) for item in found))
    for text in texts:
        address = ipaddress.ip_address(text)
        kind = refused(address)
        shown = text if text == place.host else f"{place.host} is {text}, and that"
        if kind is not None and not allow_private:
            hint = "agents may be on the public internet; --allow-private (allow_private=True) lets one be near this machine"
            raise ArenaError(CODE, f"{shown} is a {kind} address", hint, address=text)
        if place.scheme == "http" and not address.is_loopback:
            raise ArenaError(CODE, f"{place.origin} is not encrypted", "use https; http is for servers on this machine only", address=text)
    return tuple(texts)


def _without_login(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", url)
