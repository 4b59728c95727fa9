"""The rules of addresses and URLs, in every spelling that has been used to get around such rules."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network

import pytest

from ferrite_hooks.webhooks.guard import (
    Refused,
    Rules,
    allowed_host,
    check_address,
    check_url,
    literal_address,
    socket_factory,
)

OPEN = Rules()
CLOSED = Rules(block_private_networks=True)

def words(text: str) -> list[str]:
    return text.split()


NEVER = words("""
169.254.0.1 169.254.169.254 fe80::1 fe80::a9fe:a9fe febf::1 fd00:ec2::254 100.100.100.200 168.63.129.16
0.0.0.0 0.1.2.3 :: 224.0.0.1 239.255.255.255 ff02::1 240.0.0.1 255.255.255.255
::ffff:169.254.169.254 ::ffff:0.0.0.0 ::169.254.169.254 64:ff9b::169.254.169.254 2002:a9fe:a9fe::1
2001:0:a9fe:a9fe::1 2001:0:4136:e378:8000:63bf:5601:5601 2001:db8::5efe:a9fe:a9fe 2001:db8::200:5efe:a9fe:a9fe
""")

PRIVATE = words("""
127.0.0.1 127.255.255.254 ::1 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 fc00::1 fd12:3456::1 fec0::1
100.64.0.1 100.127.255.255 198.18.0.1 192.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 64:ff9b::10.0.0.1
64:ff9b:1::808:808 2002:7f00:1::1 2002:c0a8:101::1
""")

PUBLIC = words("""
1.1.1.1 8.8.8.8 172.15.0.1 172.32.0.1 100.63.255.255 100.128.0.1 192.169.0.1 2606:4700::1111 2002:101:101::1
64:ff9b::8.8.8.8 ::ffff:8.8.8.8
""")


@pytest.mark.parametrize("address", NEVER)
def test_never_allowed_whatever_the_rules(address: str) -> None:
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    for rules in (OPEN, CLOSED, Rules(block_private_networks=True, allowed_networks=everything)):
        with pytest.raises(Refused, match="never allowed"):
            check_address(ip_address(address), rules)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_only_where_they_are_blocked(address: str) -> None:
    check_address(ip_address(address), OPEN)
    with pytest.raises(Refused, match="block_private_networks"):
        check_address(ip_address(address), CLOSED)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    check_address(ip_address(address), CLOSED)


def test_allowed_networks_are_exceptions() -> None:
    exceptions = (ip_network("10.1.0.0/16"), ip_network("::1/128"))
    rules = Rules(block_private_networks=True, allowed_networks=exceptions)
    check_address(ip_address("10.1.2.3"), rules)
    check_address(ip_address("::1"), rules)
    for address in ("10.2.0.1", "127.0.0.1", "::ffff:10.2.0.1"):
        with pytest.raises(Refused):
            check_address(ip_address(address), rules)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0X7F.0.0.1", "017700000001",
        "0177.0.0.1", "127.0.0.1.", "127.1.",
    ],
)  # fmt: skip
def test_every_spelling_of_an_address_is_that_address(host: str) -> None:
    assert literal_address(host) == ip_address("127.0.0.1")
    with pytest.raises(Refused):
        check_url(f"http://{host}:8080/x", CLOSED)


def test_names_are_not_addresses() -> None:
    for host in words("localhost 127.0.0.1.example.com 1e100.net a.b 12.example 0x.example 256.256.256.256"):
        assert literal_address(host) is None
    assert literal_address("fe80::1%eth0") == ip_address("fe80::1")
    assert literal_address("[::1]") == ip_address("::1")


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data", "http://[fe80::1%25eth0]/", "http://[::ffff:a9fe:a9fe]/",
        "http://0/", "http://0x0/", "http://2852039166/", "http://0251.0376.0251.0376/", "http://169.254.43518/",
        "http://１６９.２５４.１６９.２５４/", "http://169。254。169。254/",
    ],
)  # fmt: skip
def test_urls_of_forbidden_addresses(url: str) -> None:
    with pytest.raises(Refused, match="never allowed"):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "", "hook", "//host/x", "ftp://host/", "file:///etc/passwd", "javascript:alert(1)", "http://", "http:///x",
        "http://user@host/", "http://user:pass@host/", "http://@host/", "http://host:99999/", "http://host:x/",
        "http://host:0/", "http://host/a b", "http://host/\r\nX: y", "http://ho\tst/", "http://host\\@other/",
        "http://[::1/", "http://[zz]/", "http://host/" + "x" * 2040, "gopher://host/", "http://host/\ud800",
        "http://" + "x" * 64 + ".com/", "http://a..b/",
    ],
)  # fmt: skip
def test_urls_that_are_no_webhooks(url: str) -> None:
    with pytest.raises(Refused):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/", "https://api.example.com/webhook?sig=a%2Bb#f", "HTTPS://Example.com",
        "https://bücher.example/", "http://[::1]:80/", "http://localhost./x", "http://host/" + "x" * 2036,
    ],
)  # fmt: skip
def test_urls_of_webhooks(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    ("host", "globs", "allowed"),
    [
        ("anything", (), True),
        ("api.example.com", ("api.example.com",), True),
        ("API.Example.com.", ("api.example.com",), True),
        ("api.example.com", ("*.Example.com",), True),
        ("example.com", ("*.example.com",), False),
        ("evilexample.com", ("*.example.com",), False),
        ("api.example.com.evil.net", ("*.example.com",), False),
        ("10.1.2.3", ("a", "10.1.*"), True),
    ],
)
def test_allowed_hosts(host: str, globs: tuple[str, ...], allowed: bool) -> None:
    assert allowed_host(host, globs) is allowed
    if not allowed:
        with pytest.raises(Refused, match="allowed_hosts"):
            check_url(f"https://{host}/", Rules(allowed_hosts=globs))


def test_the_socket_factory_judges_the_address_of_the_attempt() -> None:
    make = socket_factory(CLOSED)
    for family, sockaddr in (
        (socket.AF_INET, ("127.0.0.1", 80)),
        (socket.AF_INET6, ("::1", 80, 0, 0)),
        (socket.AF_INET6, ("fe80::1%lo", 80, 0, 1)),
    ):
        with pytest.raises(PermissionError):
            make((family, socket.SOCK_STREAM, 6, "", sockaddr))
    with pytest.raises(PermissionError):
        make((socket.AF_UNIX, socket.SOCK_STREAM, 0, "", "/tmp/x"))
    with make((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", 80))) as made:
        assert made.family == socket.AF_INET
