"""Where agents may be: a table of addresses, numbers in disguise, names that change what they say."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.adapters.addresses import place_of, refused, resolve
from arena.adapters.http import HttpAgent
from arena.errors import ArenaError

ALLOWED = "8.8.8.8 1.1.1.1 172.15.255.255 172.32.0.1 100.63.255.255 100.128.0.1 126.0.0.1 128.0.0.1 169.253.0.1 2606:4700::1111 2a00:1450:4001::8a"
REFUSED = {
    "loopback": "127.0.0.1 127.0.0.2 127.255.255.254 ::1",
    "unspecified": "0.0.0.0 ::",
    "private": "10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 192.168.255.255 0.1.2.3 192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.1 "
    "203.0.113.1 240.0.0.1 255.255.255.255 fc00::1 fd00:ec2::254 2001:db8::1 100::1",
    "link-local": "169.254.0.1 169.254.169.254 fe80::1 fe80::1%lo",
    "multicast": "224.0.0.1 239.255.255.255 ff02::1 ff0e::1",
    "carrier-grade NAT": "100.64.0.1 100.127.255.255",
    "IPv4-mapped": "::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:8.8.8.8",
    "IPv4-translated": "::ffff:0:127.0.0.1",
    "NAT64": "64:ff9b::7f00:1 64:ff9b:1::a00:1",
    "6to4": "2002:7f00:1::",
    "Teredo": "2001::1",
    "site-local": "fec0::1",
    "reserved": "::127.0.0.1 4000::1",
}


@pytest.mark.parametrize("text", ALLOWED.split())
def test_public_addresses_are_allowed(text):
    assert refused(ipaddress.ip_address(text)) is None
    host = f"[{text}]" if ":" in text else text
    assert resolve(place_of(f"https://{host}/agent")) == (text,)


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in REFUSED.items() for text in texts.split()])
def test_all_others_are_refused_by_kind(kind, text):
    assert refused(ipaddress.ip_address(text)) == kind


@given(st.ip_addresses(v=4))
def test_what_is_not_global_is_never_allowed(address):
    """And wherever a v4 address is hidden in a v6 one, it is refused."""
    if not address.is_global:
        assert refused(address) is not None
    for hidden in (f"::ffff:{address}", f"64:ff9b::{address}", f"::{address}"):
        assert refused(ipaddress.ip_address(hidden)) is not None


def error_of(call, *words):
    with pytest.raises(ArenaError) as error:
        call()
    assert error.value.code == "agent.address" and error.value.exit_code == 2
    for word in words:
        assert word in str(error.value), str(error.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "[::1]", "[::ffff:127.0.0.1]"])
def test_disguises_of_this_machine(host):
    error_of(lambda: resolve(place_of(f"https://{host}/")), "address", "--allow-private")


def test_allow_private_opens_them_but_not_without_encryption():
    assert resolve(place_of("http://127.0.0.1:81"), allow_private=True) == ("127.0.0.1",)
    assert resolve(place_of("https://10.0.0.1"), allow_private=True) == ("10.0.0.1",)
    error_of(lambda: resolve(place_of("http://10.0.0.1"), allow_private=True), "not encrypted", "https")
    error_of(lambda: resolve(place_of("http://8.8.8.8")), "not encrypted")


def test_one_private_address_of_a_name_is_enough(monkeypatch):
    both = [(2, 1, 6, "", ("8.8.8.8", 443)), (2, 1, 6, "", ("192.168.1.1", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    error_of(lambda: resolve(place_of("https://two.example")), "two.example is 192.168.1.1", "private")


def test_names_are_resolved_once(server, monkeypatch):
    """A name that later says something else is not asked again, also when a new connection is made."""
    asked, plain = [], socket.getaddrinfo

    def once(host, port, *rest, **more):
        if host != "agent.example":
            return plain(host, port, *rest, **more)
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1" if len(asked) == 1 else "10.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", once)
    agent = HttpAgent(f"http://agent.example:{server.server_port}", allow_private=True)
    for _ in range(2):
        assert agent.about.name == "toy"
        agent.close()
        del agent.about
    assert asked == ["agent.example"] and server.connections == 2
    assert {headers["Host"] for headers in server.headers} == {f"agent.example:{server.server_port}"}


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("ftp://a.example", "no URL"), ("file:///etc/passwd", "no URL"), ("a.example", "no URL"), ("", "no URL"), ("http://", "no URL"),
        ("gopher://a.example:70/x", "no URL"), ("https://user:hunter2@a.example", "user name or password"), ("https://a.example:99999", "no URL"),
        ("https://a.example/?token=hunter2", "more than host"), ("https://a.example/#x", "more than host"), ("https://a.example/a b", "more than"),
        ("https://a.example/\r\nX: y", "more than host"), ("https://a.example\\@b.example/", "user name"), ("https://[::1", "no URL"),
    ],
)  # fmt: skip
def test_other_urls_are_refused_without_showing_secrets(url, word):
    with pytest.raises(ArenaError) as error:
        HttpAgent(url)
    assert error.value.code == "agent.address" and word in str(error.value) and "hunter2" not in str(error.value)


def test_unknown_names():
    error_of(lambda: resolve(place_of("https://no-such-host.invalid")), "cannot be resolved")
