"""`ferrite-hooks listen`, a receiver to try webhooks with, and `ferrite-hooks verify`, a check of one request.

`listen` prints each event that arrives, in whatever format, and watches what a receiver depends on: the
signature, events that come twice, events of a key that come in the wrong order, and old values that are not
the value seen last (a change in between was not delivered, or not subscribed to). It can fail on purpose, to
see retries. What it prints comes from strangers, so nothing unprintable reaches the terminal.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import os
import random
import signal
import sys
import time
from base64 import b64decode
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any, Final, TextIO, TypeVar

from aiohttp import web

from ferrite_hooks.webhooks.sign import BATCH, SCHEMES, SignatureError, verified_schemes

SECRET_VARIABLE = "FERRITE_HOOKS_SECRET"
MAX_BODY = 64 << 20
REMEMBERED = 100_000  # event ids, and keys, that are kept for comparison
MAX_SHOWN = 200  # characters of a value on a line

Print = Callable[[str], None]


# --- reading what arrives ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Event:
    """One event, whatever the format it came in."""

    id: str
    event: str
    key: str | None
    database: int | None
    webhook: str
    sequence: int | None
    data: Any
    coalesced: bool
    remarks: list[str] = field(default_factory=list)


def read_events(body: bytes, headers: Mapping[str, str]) -> list[Event]:
    """The events of a request: single or batch, ferrite, standard or CloudEvents. Raises ValueError."""
    parsed = json.loads(body)
    webhook = headers.get("X-Ferrite-Webhook", "")
    delivery = headers.get("webhook-id", "")
    if isinstance(parsed, dict) and "batch_id" in parsed:
        parsed = parsed.get("events")
    elif isinstance(parsed, dict):
        parsed = [parsed]
    if not isinstance(parsed, list) or not all(isinstance(one, dict) for one in parsed):
        raise ValueError("neither an event nor a batch of events")
    return [_event(one, webhook, delivery) for one in parsed]


def _event(body: dict[str, Any], webhook: str, delivery: str) -> Event:
    if "specversion" in body:  # CloudEvents
        name = str(body.get("type", ""))
        name = name.removeprefix("ferrite.").upper() if name.startswith("ferrite.") else name
        facts, key = body, body.get("subject")
    elif isinstance(body.get("metadata"), dict):  # ferrite
        name, facts, key = str(body.get("event", "")), body["metadata"], body.get("key")
    elif "event" in body:  # standard
        name, facts, key = str(body["event"]), {}, body.get("resource_id")
    else:
        raise ValueError("an event of no known format")
    sequence, database = str(facts.get("sequence", "")), body.get("database")
    return Event(
        id=str(body.get("id", delivery)),
        event=name,
        key=None if key is None else str(key),
        database=database if isinstance(database, int) else None,
        webhook=str(facts.get("webhook", webhook)),
        sequence=int(sequence) if sequence.isascii() and sequence.isdigit() and len(sequence) <= 20 else None,
        data=body.get("data"),
        coalesced=bool(facts.get("coalesced")),
    )


# --- watching it ---------------------------------------------------------------------------------------------


class _Unknown:
    """A value that cannot be compared: a collection, left out, or of an event that does not tell."""


UNKNOWN: Final = _Unknown()
Value = bytes | None | _Unknown  # None: there is no such key


def _value(data: Any, name: str, truncated: str) -> Value:
    if not isinstance(data, dict) or name not in data or data.get(truncated):
        return UNKNOWN
    value = data[name]
    if value is None:
        return None
    if not isinstance(value, str):
        return UNKNOWN
    try:
        raw = b64decode(value) if data.get("encoding") == "base64" else value.encode("utf-8", "surrogatepass")
    except ValueError:
        return UNKNOWN
    return raw if len(raw) <= 64 else blake2b(raw, digest_size=32).digest()  # many keys are remembered


class Watcher:
    """Remembers enough of what was accepted to see what is wrong with the next event."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._keys: OrderedDict[tuple[str, int | None, str], tuple[int, Value]] = OrderedDict()

    def look(self, event: Event) -> Iterator[str]:
        """What there is to remark on this event ("duplicate", "out of order", "gap"), which is then taken as
        seen."""
        if event.id in self._seen:
            yield "duplicate"
            return
        self._seen[event.id] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        if event.event == "FLUSH":
            for place in [p for p in self._keys if p[:2] == (event.webhook, event.database)]:
                del self._keys[place]
        if event.event == "RENAME" and isinstance(event.data, dict):
            self._keys.pop((event.webhook, event.database, str(event.data.get("new_key"))), None)
        if event.key is None:
            return
        place = (event.webhook, event.database, event.key)
        sequence, last = self._keys.pop(place, (-1, UNKNOWN))
        if event.sequence is not None and event.sequence < sequence:
            yield "out of order"
            self._keys[place] = (sequence, UNKNOWN)
            return
        now = self._after(event, last)
        old = _value(event.data, "old_value", "old_truncated")
        comparable = now is not UNKNOWN and last is not UNKNOWN and old is not UNKNOWN
        if comparable and event.event != "TTL" and old != last and not event.coalesced:
            yield "gap"
        self._keys[place] = (sequence if event.sequence is None else event.sequence, now)
        if len(self._keys) > REMEMBERED:
            self._keys.popitem(last=False)

    @staticmethod
    def _after(event: Event, last: Value) -> Value:
        """The key's value once the event has happened."""
        if event.event == "SET":
            return _value(event.data, "value", "truncated")
        if event.event in ("DEL", "EXPIRE", "EVICT"):
            return None
        return last if event.event == "TTL" else UNKNOWN


# --- the receiver --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How to answer."""

    secret: str = field(default="", repr=False)  # "" = signatures are not checked
    status: int = 200
    fail_rate: float = 0.0  # 0 to 1, answered with 500
    delay_ms: int = 0
    json: bool = False


class Listener:
    """Answers requests and prints what was in them, a line an event."""

    def __init__(self, behaviour: Behaviour, out: Print, chance: Callable[[], float] = random.random) -> None:
        self.counts: Counter[str] = Counter()
        self._behaviour = behaviour
        self._out = out
        self._chance = chance
        self._watcher = Watcher()

    async def handle(self, request: web.Request) -> web.Response:
        if request.method != "POST":
            return web.Response(status=405, text="webhooks come by POST\n", headers={"Allow": "POST"})
        body = await request.read()
        if self._behaviour.delay_ms:
            await asyncio.sleep(self._behaviour.delay_ms / 1000)
        status = self.receive(body, request.headers)
        return web.Response(status=status, text=f"{status}\n")

    def receive(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Takes one request: prints its events, counts, returns the status to answer with."""
        self.counts["requests"] += 1
        signature = self._signature(body, headers)
        status = self._behaviour.status
        if self._behaviour.secret and signature != "ok":
            self.counts["bad signatures"] += 1
            status = 401
        elif self._behaviour.fail_rate and self._chance() < self._behaviour.fail_rate:
            status = 500
        try:
            events = read_events(body, headers)
        except (ValueError, RecursionError) as error:
            self.counts["not understood"] += 1
            reason = str(error) if isinstance(error, ValueError) else "nested too deep"
            events = [Event("", "?", None, None, "", None, None, False, [f"not understood: {reason}"])]
            status = 400 if status < 300 else status
        accepted = 200 <= status < 300
        if not accepted:
            self.counts["answered with an error"] += 1
        attempt = headers.get("X-Ferrite-Attempt", "")
        if attempt not in ("", "1"):
            self.counts["repeated attempts"] += 1
        for event in events:
            if accepted:  # what was refused comes again: that is no duplicate
                event.remarks += self._watcher.look(event)
            self.counts["events"] += event.event != "?"
            self.counts.update(event.remarks if event.event != "?" else ())
            self._show(event, attempt, signature, status, headers)
        return status

    def _signature(self, body: bytes, headers: Mapping[str, str]) -> str:
        if not any(name in headers for name in SCHEMES):
            return "none"
        if not self._behaviour.secret:
            return "unchecked"
        try:
            verified_schemes(body, headers, self._behaviour.secret)
        except SignatureError as error:
            return f"BAD ({error})"
        return "ok"

    def _show(
        self, event: Event, attempt: str, signature: str, status: int, headers: Mapping[str, str]
    ) -> None:
        if self._behaviour.json:
            line = asdict(event) | {
                "delivery": headers.get("X-Ferrite-Delivery", ""), "attempt": attempt, "signature": signature,
                "replied": status, "received_at": round(time.time() * 1000),
            }  # fmt: skip
            self._out(json.dumps(line))
            return
        parts = [time.strftime("%H:%M:%S"), f"{event.event:<8}", "-" if event.key is None else event.key]
        parts += _told(event.event, event.data)
        if headers.get("X-Ferrite-Event") == BATCH:
            parts.append("in a batch")
        if attempt not in ("", "1"):
            parts.append(f"attempt {attempt}")
        parts.append(f"signature {signature}")
        if not 200 <= status < 300:
            parts.append(f"-> {status}")
        if event.remarks:
            parts.append(f"!! {', '.join(event.remarks)}")
        self._out(printable(" ".join(parts)))

    def summary(self) -> str:
        names = ("requests", "events", "repeated attempts", "answered with an error", "bad signatures")
        rest = [name for name in ("not understood", "duplicate", "out of order", "gap") if self.counts[name]]
        return ", ".join(f"{self.counts[name]} {name}" for name in (*names, *rest))


def _told(name: str, data: Any) -> Iterator[str]:
    """What an event says about its key, or an application's own data."""
    if not isinstance(data, dict) or "value" not in data:
        if data is not None:
            yield _short(data)
        return
    if data.get("truncated"):
        yield f"= ({data.get('size')} bytes, left out)"
    elif data["value"] is not None:
        yield f"= {_short(data['value'])}"
    if data.get("new_key") is not None:
        yield f"to {_short(data['new_key'])}"
    if data.get("old_value") is not None:
        yield f"(was {_short(data['old_value'])})"
    if name == "TTL" and data.get("ttl") is None:
        yield "no ttl"
    elif (name == "TTL" or data["value"] is not None) and isinstance(data.get("ttl"), int):
        yield f"ttl {data['ttl']}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}… ({len(text)} characters)"


def printable(text: str) -> str:
    """The text with everything that a terminal might obey, or cannot show, as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# --- the subcommands -----------------------------------------------------------------------------------------


N = TypeVar("N", int, float)


def _number(kind: Callable[[str], N], low: int, high: int, expected: str) -> Callable[[str], N]:
    """Reads an argument, or refuses it with what was expected."""

    def read(text: str) -> N:
        with suppress(ValueError):
            if low <= (value := kind(text)) <= high:
                return value
        raise argparse.ArgumentTypeError(f"expected {expected}, got '{printable(text)}'")

    return read


_rate = _number(float, 0, 1, "a number from 0 to 1")
_status = _number(int, 200, 599, "an HTTP status from 200 to 599")
_milliseconds = _number(int, 0, 86_400_000, "milliseconds, at most a day")
_port = _number(int, 0, 65535, "a port from 0 to 65535")


def _add_secret(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--secret",
        default=os.environ.get(SECRET_VARIABLE, ""),
        metavar="S",
        help=f"the webhook's secret (others can see arguments: ${SECRET_VARIABLE} is read too)",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `listen`."""
    parser.add_argument("--bind", default="127.0.0.1", metavar="ADDR", help="default 127.0.0.1")
    parser.add_argument("--port", type=_port, default=8000, metavar="N", help="default 8000; 0 takes a free one")
    _add_secret(parser)
    parser.add_argument("--status", type=_status, default=200, metavar="CODE", help="what to answer (200)")
    parser.add_argument("--fail-rate", type=_rate, default=0.0, metavar="F", help="share answered with 500 (0 to 1)")
    parser.add_argument("--delay", type=_milliseconds, default=0, metavar="MS", help="wait before answering")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """`listen`: serves until SIGINT or SIGTERM, then prints a summary on stderr. Returns the exit status."""
    behaviour = Behaviour(args.secret, args.status, args.fail_rate, args.delay, args.json)
    try:
        asyncio.run(_serve(behaviour, args.bind, args.port, sys.stdout, sys.stderr))
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "the port is in use; choose another with --port" if taken else error.strerror or error
        print(f"ferrite-hooks listen: {args.bind}:{args.port}: {why}", file=sys.stderr)
        return 1
    return 0


async def _serve(behaviour: Behaviour, bind: str, port: int, out: TextIO, notes: TextIO) -> None:
    stop = asyncio.Event()

    def write(line: str) -> None:
        try:
            print(line, file=out, flush=True)
        except BrokenPipeError:  # piped into something that has seen enough
            stop.set()

    listener = Listener(behaviour, write)
    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_route("*", "/{path:.*}", listener.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, bind, port).start()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        host, bound = runner.addresses[0][:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"listening on http://{shown}:{bound}/  (Ctrl-C ends)", file=notes, flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()
    print(listener.summary(), file=notes, flush=True)


def add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `verify`."""
    _add_secret(parser)
    parser.add_argument(
        "--header", action="append", default=[], metavar="'Name: value'", help="a header of the request; repeatable"
    )
    parser.add_argument(
        "--tolerance", type=float, default=300.0, metavar="SECONDS", help="how old a signature may be (300; inf)"
    )


def run_verify(args: argparse.Namespace) -> int:
    """`verify`: checks the body on stdin. Returns 0 and says which schemes verified, or 1 and says why not."""
    headers = {}
    for line in args.header:
        name, colon, value = line.partition(":")
        if not colon:
            print(f"ferrite-hooks verify: not a header: {printable(line)}", file=sys.stderr)
            return 1
        headers[name.strip()] = value.strip()
    try:
        schemes = verified_schemes(
            sys.stdin.buffer.read(), headers, args.secret, tolerance_seconds=args.tolerance
        )
    except SignatureError as error:
        print(f"not verified: {error}", file=sys.stderr)
        return 1
    print(f"verified: {', '.join(schemes)}")
    return 0
