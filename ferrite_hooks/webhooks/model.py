"""The facts of webhook delivery: what changed, who wants to know, what was sent, what came of it.

Plain values without behaviour. The engine makes a Change for each write that some webhook matches; it is
self-contained, so that nothing later has to read the store. Its fields, as an array, are what the journal keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import msgspec

# What a change wrote, or what stood there before, in the cheapest form the write path can give:
#   None                      nothing (deleted, did not exist)
#   bytes                     a string value
#   ("hash", [f, v, ...])     field/value pairs, flat; a value may be None (field did not exist before)
#   ("list", [e, ...])        list elements           ("set", [m, ...])   set members
#   ("zset", [m, score, ...]) member/score pairs, flat; a score is a float, or None
#   ("stream", [id, f, v, ...])  one entry
#   ("key", name)             another key's name (RENAME: the new name)
#   ("stub", type, length)    a collection too large to copy, or not worth copying
#   ("bulk", size)            bytes that no payload takes (max_value_bytes), not kept while it waits
#   ("json", raw)             JSON text of an application event
Written = bytes | tuple[Any, ...] | None


class Change(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One change of the data (or one application event) that at least one webhook matched.

    There may be millions: the collector of cycles need not look at them, for nothing in them leads back."""

    position: int  # unique and increasing over the server's life; the event id derives from it
    at: int  # unix ms
    db: int
    event: str  # Redis's keyspace-notification name ("hset", "del"), or an application event ("user.created")
    key: bytes | None  # None: FLUSH and application events without a key
    new: Written
    old: Written
    expire_at: int  # unix ms at which the key will expire, 0 = never
    command: str  # "" when no command caused it (expiry, eviction)
    client: int  # client id, 0 = none
    ip: str  # "" = none
    transaction: int  # groups the changes of one EXEC or script, 0 = none
    hooks: tuple[int, ...]  # serials of the webhooks that matched
    resource: str = ""  # application events: WEBHOOK.EMIT … RESOURCE


class Backoff(Enum):
    FIXED = "fixed"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


class Format(Enum):
    FERRITE = "ferrite"
    STANDARD = "standard"
    CLOUDEVENTS = "cloudevents"


class Overflow(Enum):
    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Condition:
    """One WHEN clause: a dotted path into the event, an operator, a literal."""

    path: str
    op: str
    value: str


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook's definition: everything that can be set, nothing that counts or moves."""

    serial: int  # given once, never reused; what the journal and the changes refer to
    name: str
    url: str
    owner: str = "default"
    patterns: tuple[bytes, ...] = ()  # empty = every key
    events: tuple[str, ...] = ("*",)  # as the user wrote them, in canonical case
    databases: tuple[int, ...] = ()  # empty = all
    secret: str = field(default="", repr=False)  # "" = unsigned
    old_secret: str = field(default="", repr=False)  # signs beside `secret` until old_secret_until
    old_secret_until: int = 0  # unix ms
    auth: str = field(default="", repr=False)  # the whole Authorization value, "" = none
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    max_retries: int = 3
    retry_delay_ms: int = 1000
    backoff: Backoff = Backoff.EXPONENTIAL
    max_retry_delay_ms: int = 60_000
    timeout_ms: int = 5000
    batch: bool = False
    batch_size: int = 100
    batch_interval_ms: int = 1000
    rate_limit: float = 0.0  # requests per second, 0 = none
    concurrency: int = 16
    format: Format = Format.FERRITE
    old_value: bool = True
    coalesce: bool = False
    when: tuple[Condition, ...] = ()
    max_pending: int = 10_000
    overflow: Overflow = Overflow.DROP_OLDEST
    verify_ssl: bool | None = None  # None, "": as the configuration says
    ca_file: str = ""
    client_cert_file: str = ""
    client_key_file: str = ""
    description: str = ""
    enabled: bool = True
    paused: bool = False
    disabled_reason: str = ""
    created_at: int = 0  # unix ms
    updated_at: int = 0

    @property
    def status(self) -> str:
        """active, paused or disabled."""
        return "disabled" if not self.enabled else "paused" if self.paused else "active"


class Tls(NamedTuple):
    """How a connection to an https URL is secured. Files are PEM; "" = none."""

    verify: bool = True
    ca_file: str = ""  # trusted beside the system's authorities
    cert_file: str = ""  # our client certificate …
    key_file: str = ""  # … and its key, when that is not in the same file


def tls_of(webhook: Webhook, otherwise: Tls) -> Tls | None:
    """A webhook's own TLS settings, filled up with the configuration's; None if it has none of its own."""
    if webhook.verify_ssl is None and not (webhook.ca_file or webhook.client_cert_file):
        return None
    verify = otherwise.verify if webhook.verify_ssl is None else webhook.verify_ssl
    own = (webhook.client_cert_file, webhook.client_key_file)
    return Tls(verify, webhook.ca_file or otherwise.ca_file, *(own if own[0] else otherwise[2:]))


class Errand(msgspec.Struct, frozen=True, gc=False):
    """One request to be made: what it tells whom. It becomes a Request where it is sent."""

    webhook: Webhook
    attempt: int  # from 1
    now: int  # unix ms: when it was decided upon
    events: list[tuple[Change, int]]  # several for a batch; each with how many earlier changes it stands for


class Request(msgspec.Struct, frozen=True, gc=False):
    """One HTTP request, complete: `send` adds nothing but the connection."""

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    timeout_ms: int
    tls: Tls | None = None  # None: as the sender is set up


class Stage(Enum):
    """How far a request got. An outcome says so itself; nobody searches in error texts."""

    RENDER = "render"  # there is no request: the events cannot be written
    RESOLVE = "resolve"
    CONNECT = "connect"
    TLS = "tls"
    SEND = "send"
    TIMEOUT = "timeout"
    STATUS = "status"
    CUT = "cut"  # by ourselves, before an answer: the server stops, or sends by other rules now


class Outcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What came of one request."""

    stage: Stage  # STATUS: an HTTP response arrived
    status: int  # HTTP status, 0 when none arrived
    latency_ms: float
    error: str  # "" when a response arrived; never contains a secret
    body: bytes  # first bytes of the response; those of an Errand without secrets
    retry_after: str  # the response's Retry-After header, "" = none
    delivery: str = ""  # the delivery id that an Errand went with

    @property
    def delivered(self) -> bool:
        return self.stage is Stage.STATUS and 200 <= self.status < 300


Done = Callable[[Outcome], None]  # what the outcome of a request is told
