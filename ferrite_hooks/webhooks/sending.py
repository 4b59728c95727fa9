"""What runs in a sender process, and what it and the command loop's process (postman.py) say to each other.

Both ends of a socket pair send messages (messagepack.py), as many at a time as have come together in a turn of their
loop:

    loop → sender    POST    [id, serial, attempt, now, [[change, coalesced], …]]
                     HOOK    a definition, before the first POST that goes by it
                     FORGET  all definitions
                     TERMS   the terms
                     CLOSE   grace_ms: take no more, end what is under way, then the process
    sender → loop    DONE    [[id, outcome], …]; once an empty list: it has started

Secrets come by this way only. A sender obeys the socket and no signals, for a terminal's Ctrl-C and a service
manager's SIGTERM may reach it, too, and the server has yet to say how its requests end; when the socket closes the
server is gone, and so is the sender.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from ipaddress import ip_network
from typing import Final, cast

from ferrite_hooks import log
from ferrite_hooks.messagepack import Messages, pack_message, unpack, unpacker
from ferrite_hooks.webhooks.courier import Courier, Terms
from ferrite_hooks.webhooks.definition import from_plain, to_plain
from ferrite_hooks.webhooks.guard import Rules
from ferrite_hooks.webhooks.model import Change, Errand, Outcome, Tls, Webhook

POST, HOOK, FORGET, TERMS, CLOSE, DONE = range(6)

PATIENCE = 0.001  # seconds that an outcome waits for others
unpack_errand: Final = unpacker(tuple[int, int, int, int, list[tuple[Change, int]]])
unpack_outcomes: Final = unpacker(list[tuple[int, Outcome]])


def packed_hook(webhook: Webhook) -> bytes:
    return pack_message(HOOK, to_plain(webhook))


def packed_terms(terms: Terms) -> bytes:
    rules = terms.rules
    networks = [str(network) for network in rules.allowed_networks]
    plain = (terms.journal_id, (rules.allowed_hosts, rules.block_private_networks, networks), *terms[2:])
    return pack_message(TERMS, plain)


def packed_errand(id: int, errand: Errand) -> bytes:
    """Raises OverflowError, TypeError or ValueError for a change that no message can hold."""
    return pack_message(POST, (id, errand.webhook.serial, errand.attempt, errand.now, errand.events))


class Sending(asyncio.Protocol):
    """The sender's end of the socket."""

    def __init__(self) -> None:
        self.over = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._courier = Courier(Terms())
        self._hooks: dict[int, Webhook] = {}  # by serial
        self._messages = Messages()
        self._outcomes: list[tuple[int, Outcome]] = []  # not yet told
        self._hurry: asyncio.TimerHandle | None = None  # when they have to be
        self._under_way = 0  # errands
        self._obey: dict[int, Callable[[bytes], None]] = {
            POST: self._post, HOOK: self._hook, FORGET: self._forget, TERMS: self._terms, CLOSE: self._close,
        }  # fmt: skip

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(pack_message(DONE, []))

    def data_received(self, data: bytes) -> None:
        for kind, packed in self._messages.feed(data):
            self._obey[kind](packed)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)

    # -- what is obeyed ----------------------------------------------------------------------------------------

    def _post(self, packed: bytes) -> None:
        id, serial, attempt, now, events = unpack_errand(packed)
        self._under_way += 1
        self._courier.carry(Errand(self._hooks[serial], attempt, now, events), partial(self._done, id))

    def _hook(self, packed: bytes) -> None:
        webhook = from_plain(unpack(packed))
        self._hooks[webhook.serial] = webhook

    def _forget(self, packed: bytes) -> None:
        self._hooks.clear()

    def _terms(self, packed: bytes) -> None:
        journal_id, (allowed, block, networks), tls, *rest = unpack(packed)
        rules = Rules(tuple(allowed), block, tuple(ip_network(network) for network in networks))
        self._courier.change(Terms(journal_id, rules, Tls._make(tls), *rest))

    def _close(self, packed: bytes) -> None:
        self._ending = self._loop.create_task(self._end(unpack(packed) / 1000))

    async def _end(self, grace_seconds: float) -> None:
        await self._courier.close(grace_seconds)
        await asyncio.sleep(0)  # the last outcomes come in a later turn
        self._flush()
        self._transport.close()  # once what was written is away

    # -- what is done ------------------------------------------------------------------------------------------

    def _done(self, id: int, outcome: Outcome) -> None:
        self._under_way -= 1
        outcomes = self._outcomes
        outcomes.append((id, outcome))
        if len(outcomes) >= self._under_way:
            self._flush()
        elif self._hurry is None:
            self._hurry = self._loop.call_later(PATIENCE, self._flush)

    def _flush(self) -> None:
        """Tells what has come out: at once when that is as much as there is still to do, else a moment later, so that
        neither end is woken for every single one."""
        if self._hurry is not None:
            self._hurry.cancel()
            self._hurry = None
        outcomes, self._outcomes = self._outcomes, []
        if outcomes:
            self._transport.write(pack_message(DONE, outcomes))


async def _serve(end: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    _, sending = await loop.create_unix_connection(Sending, sock=end)
    await sending.over


def main() -> None:
    """Serves the socket that is standard input until it closes. Arguments: nice value, log level and log format."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    os.nice(int(sys.argv[1]))
    log.set_up(*sys.argv[2:4])
    end = socket.socket(fileno=0)
    end.setblocking(False)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(end))
        # Threads that wait for a name server would keep the process, and nobody waits for them.
        os._exit(0)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
