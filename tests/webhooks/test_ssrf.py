"""Requests that try to reach what they may not: real sockets on loopback's many addresses, a resolver of the test's."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from typing import Any

import pytest
from receiver import Receiver, Reply, posted

from ferrite_hooks.webhooks.guard import Refused, Rules, check_url
from ferrite_hooks.webhooks.model import Outcome, Request, Stage, Tls
from ferrite_hooks.webhooks.send import Sender

# Literals and names of 127.0.0.2. The first ones reach it where that is allowed: what is refused is no accident.
REACHING = [
    "127.0.0.2", "[::ffff:127.0.0.2]", "[::ffff:7f00:2]", "[0:0:0:0:0:ffff:127.0.0.2]", "１２７.0.0.2", "127。0。0。2",
    "two.test", "TWO.test.", "mapped.test",
]  # fmt: skip
ODD = ["127.2", "127.0.2", "0x7f000002", "0X7F.2", "017700000002", "0177.0.0.2", "2130706434", "127.0.0.2."]
TUNNELLED = [
    "[::127.0.0.2]", "[64:ff9b::7f00:2]", "[64:ff9b:1::7f00:2]", "[2002:7f00:2::1]", "[2001:0:7f00:2::1]",
    "nat64.test", "6to4.test", "compatible.test",
]  # fmt: skip
PRIVATE = ["localhost", "[::1]", "10.0.0.1", "ten.test", "[fd12::1]", "100.64.0.1", "192.168.1.1", "172.31.0.1"]
NEVER = [
    "169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]", "metadata.test", "linklocal.test", "0.0.0.0", "0",
    "[::]", "any.test", "224.0.0.1", "255.255.255.255", "[ff02::1]", "[fd00:ec2::254]", "[64:ff9b::a9fe:a9fe]",
    "0xa9fea9fe",
]  # fmt: skip
NAMES = {
    "two.test": ["127.0.0.2"], "mapped.test": ["::ffff:127.0.0.2"], "nat64.test": ["64:ff9b::127.0.0.2"],
    "6to4.test": ["2002:7f00:2::1"], "compatible.test": ["::127.0.0.2"], "ten.test": ["10.0.0.1"],
    "metadata.test": ["169.254.169.254"], "linklocal.test": ["fe80::1"], "any.test": ["0.0.0.0"],
    "localhost": ["127.0.0.1", "::1"], "both.test": ["169.254.169.254", "127.0.0.2"],
}  # fmt: skip

Resolve = Callable[..., Any]


def answer(addresses: list[str], port: int) -> list[Any]:
    return [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0)) if ":" in address
        else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
        for address in addresses
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names to addresses; whatever is not in it does not exist."""
    names = dict(NAMES)

    def look_up(host: str, port: int, *rest: Any) -> list[Any]:
        addresses = names.get(host.lower().rstrip("."))
        if addresses is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return answer(addresses, port)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return names


@pytest.fixture
async def inside() -> AsyncIterator[Receiver]:
    """What must not be reached, on 127.0.0.2."""
    async with Receiver(host="127.0.0.2") as running:
        yield running


async def post(url: str, rules: Rules) -> Outcome:
    sender = Sender(rules, Tls())
    outcome = await posted(sender, Request(url, (), b"{}", 2000))
    await sender.close()
    return outcome


@pytest.mark.parametrize("host", REACHING)
async def test_every_form_of_loopback_is_reached_only_where_it_is_allowed(inside: Receiver, host: str) -> None:
    url = inside.url(host=host)
    outcome = await post(url, Rules(block_private_networks=True))
    assert outcome.stage is Stage.CONNECT and "not allowed" in outcome.error
    assert inside.connections == 0
    assert (await post(url, Rules())).delivered
    loopback = (ip_network("127.0.0.2/32"), ip_network("::ffff:127.0.0.2/128"))
    assert (await post(url, Rules(block_private_networks=True, allowed_networks=loopback))).delivered


@pytest.mark.parametrize("host", ODD)
async def test_odd_spellings_go_nowhere(inside: Receiver, host: str) -> None:
    url = inside.url(host=host)
    with pytest.raises(Refused, match=r"not allowed"):
        check_url(url, Rules(block_private_networks=True))
    with pytest.raises(Refused, match=r"odd spelling of 127\.0\.0\.2"):
        check_url(url)
    for rules in (Rules(), Rules(block_private_networks=True)):
        assert not (await post(url, rules)).status
    assert inside.connections == 0


@pytest.mark.parametrize("host", [*TUNNELLED, *PRIVATE])
async def test_private_addresses_in_any_form_are_refused(inside: Receiver, host: str) -> None:
    outcome = await post(inside.url(host=host), Rules(block_private_networks=True))
    assert outcome.stage is Stage.CONNECT and "not allowed" in outcome.error
    assert inside.connections == 0


@pytest.mark.parametrize("host", NEVER)
async def test_addresses_where_credentials_live_are_refused_whatever_the_rules(inside: Receiver, host: str) -> None:
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    for rules in (Rules(), Rules(block_private_networks=True, allowed_networks=everything)):
        outcome = await post(inside.url(host=host), rules)
        assert outcome.stage is Stage.CONNECT and "never allowed" in outcome.error
    assert inside.connections == 0


async def test_of_several_addresses_only_allowed_ones_are_tried(inside: Receiver) -> None:
    assert (await post(inside.url(host="both.test"), Rules())).delivered
    outcome = await post(inside.url(host="both.test"), Rules(block_private_networks=True))
    assert outcome.stage is Stage.CONNECT and inside.connections == 1


async def test_rebinding_between_two_look_ups(inside: Receiver, resolver: dict[str, list[str]]) -> None:
    """The name was harmless when the webhook was made, and at the first request."""
    async with Receiver(host="127.0.0.3", port=inside.port) as harmless:
        harmless.default = Reply(headers=(("Connection", "close"),), fault="close_after")
        rules = Rules(block_private_networks=True, allowed_networks=(ip_network("127.0.0.3/32"),))
        resolver["rebind.test"] = ["127.0.0.3"]
        assert (await post(harmless.url(host="rebind.test"), rules)).delivered
        for turned in (["127.0.0.2"], ["169.254.169.254"], ["::ffff:127.0.0.2"], ["127.0.0.2", "::1"]):
            resolver["rebind.test"] = turned
            outcome = await post(harmless.url(host="rebind.test"), rules)
            assert outcome.stage is Stage.CONNECT and "allowed" in outcome.error
    assert inside.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_to_private_addresses_are_not_followed(inside: Receiver, status: int) -> None:
    async with Receiver(host="127.0.0.3") as outside:
        outside.default = Reply(status, (("Location", inside.url()), ("Refresh", f"0; url={inside.url()}")))
        rules = Rules(block_private_networks=True, allowed_networks=(ip_network("127.0.0.3/32"),))
        for each in (rules, Rules()):
            outcome = await post(outside.url(), each)
            assert (outcome.stage, outcome.status, outcome.delivered) == (Stage.STATUS, status, False)
    assert inside.connections == 0


async def test_proxies_of_the_environment_are_not_asked(inside: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, inside.url())
    monkeypatch.delenv("no_proxy", raising=False)
    async with Receiver(host="127.0.0.3") as outside:
        assert (await post(outside.url(), Rules())).delivered
    assert inside.connections == 0


async def test_a_name_outside_allowed_hosts_is_not_even_looked_up(inside: Receiver) -> None:
    outcome = await post(inside.url(host="unknown.test"), Rules(allowed_hosts=("*.example.com",)))
    assert outcome.stage is Stage.CONNECT and "allowed_hosts" in outcome.error
