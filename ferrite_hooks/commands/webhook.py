"""WEBHOOK.*: making, changing and looking at webhooks. What they deliver is told in webhook_delivery.py.

The work is done by the Manager that the app puts into the engine's extensions; here words become calls and
facts become replies. A webhook belongs to the user who made it: others are told that there is no such webhook.
Commands whose arguments hold secrets are declared `secret`: MONITOR and SLOWLOG don't show them.
"""

from __future__ import annotations

from collections.abc import Callable

from ferrite_hooks import glob
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import SYNTAX, ReplyError, printable
from ferrite_hooks.resp.reply import OK, Reply
from ferrite_hooks.webhooks import asymmetric, report
from ferrite_hooks.webhooks.delivery import Delivery
from ferrite_hooks.webhooks.manager import DAY_SECONDS, Manager
from ferrite_hooks.webhooks.options import Refusal

SINCE = "1.0.0"
FLAGS = "noscript stale"
MAX_OVERLAP_SECONDS = 30 * DAY_SECONDS
STATUSES = ("active", "paused", "disabled")

_OPTIONS = (
    " [PATTERN glob [PATTERN glob ...]] [EVENTS event [event ...]] [DB index [index ...]]"
    " [SECRET <secret | GENERATE | GENERATE_V1A>]"
    " [AUTH <BEARER token | BASIC user:password | NONE>] [HEADER name value [HEADER name value ...]]"
    " [RETRIES retries] [RETRY_DELAY milliseconds] [RETRY_BACKOFF <FIXED | LINEAR | EXPONENTIAL>]"
    " [MAX_RETRY_DELAY milliseconds] [TIMEOUT milliseconds] [BATCH <TRUE | FALSE>] [BATCH_SIZE count]"
    " [BATCH_INTERVAL milliseconds] [RATE_LIMIT per-second] [CONCURRENCY count]"
    " [FORMAT <FERRITE | STANDARD | CLOUDEVENTS>] [OLD_VALUE <TRUE | FALSE>] [COALESCE <TRUE | FALSE>]"
    " [WHEN path operator value [WHEN path operator value ...]] [MAX_PENDING count]"
    " [OVERFLOW <DROP_OLDEST | DROP_NEWEST | REJECT>] [DESCRIPTION text] [DISABLED]"
    " [VERIFY_SSL <TRUE | FALSE | DEFAULT>] [CA_FILE path] [CLIENT_CERT path] [CLIENT_KEY path]"
)


def manager_of(s: Session) -> Manager:
    """Raises ReplyError if webhooks are switched off."""
    manager = s.engine.extensions.get("webhooks")
    if not isinstance(manager, Manager):
        raise ReplyError("ERR webhooks are switched off (webhooks.enabled is false)")
    return manager


def refusing(handler: Callable[[Session, Argv], Reply]) -> Callable[[Session, Argv], Reply]:
    """Turns the library's Refusal into an error reply."""

    def call(s: Session, argv: Argv) -> Reply:
        try:
            return handler(s, argv)
        except Refusal as refusal:
            raise ReplyError(f"ERR {refusal}") from None

    call.__name__, call.__doc__ = handler.__name__, handler.__doc__
    return call


def find(s: Session, name: bytes) -> Delivery:
    """The webhook, if the session's user may see it. Raises Refusal."""
    return manager_of(s).find(name, s.user.name)


def secret_once(generated: str) -> Reply:
    """The reply to a command that may have made a secret, or a pair of keys whose public one is to be known."""
    if not generated:
        return OK
    return {"public_key" if generated.startswith(asymmetric.PUBLIC) else "secret": generated}


@command("WEBHOOK.CREATE name url" + _OPTIONS, "Creates a webhook: what changes it wants, and how they are sent.",
         group="webhook", since=SINCE, flags=FLAGS + " secret", arity=-3)  # fmt: skip
@refusing
def create(s: Session, argv: Argv) -> Reply:
    return secret_once(manager_of(s).create(argv[1], argv[2], argv[3:], s.user.name))


@command("WEBHOOK.UPDATE name [URL url]" + _OPTIONS,
         "Changes a webhook; options that are not named stay as they were.",
         group="webhook", since=SINCE, flags=FLAGS + " secret", arity=-3)  # fmt: skip
@refusing
def update(s: Session, argv: Argv) -> Reply:
    return secret_once(manager_of(s).update(find(s, argv[1]), argv[2:], s.user.name))


@command("WEBHOOK.DELETE name [name ...]", "Deletes webhooks; what is pending for them is dropped.",
         group="webhook", since=SINCE, flags=FLAGS)  # fmt: skip
@refusing
def delete(s: Session, argv: Argv) -> Reply:
    manager, deleted = manager_of(s), 0
    for name in dict.fromkeys(argv[1:]):
        delivery = manager.registry.named(name.decode("utf-8", "replace"))
        if delivery is not None and manager.visible(delivery, s.user.name):
            manager.delete(delivery)
            deleted += 1
    return deleted


@command("WEBHOOK.LIST [PATTERN glob] [STATUS <ACTIVE | PAUSED | DISABLED>]",
         "Lists the user's webhooks by name.", group="webhook", since=SINCE, flags=FLAGS + " readonly")  # fmt: skip
@refusing
def list_webhooks(s: Session, argv: Argv) -> Reply:
    words = options(argv, 1, (b"PATTERN", b"STATUS"))
    matches = glob.compile(words.get(b"PATTERN", b"*"))
    status = words.get(b"STATUS", b"").decode("utf-8", "replace").lower()
    if b"STATUS" in words and status not in STATUSES:
        raise ReplyError(f"ERR STATUS: expected {' | '.join(STATUSES)}, got '{printable(words[b'STATUS'])}'")
    return [
        report.summary(delivery.webhook)
        for delivery in manager_of(s).visible_to(s.user.name)
        if matches(delivery.webhook.name.encode()) and status in ("", delivery.webhook.status)
    ]


@command("WEBHOOK.INFO name", "Everything about one webhook, except its secrets.",
         group="webhook", since=SINCE, flags=FLAGS + " readonly")  # fmt: skip
@refusing
def info(s: Session, argv: Argv) -> Reply:
    return report.info(manager_of(s), find(s, argv[1]))


@command("WEBHOOK.ENABLE name", "Lets a disabled webhook capture and deliver again.",
         group="webhook", since=SINCE, flags=FLAGS)  # fmt: skip
@refusing
def enable(s: Session, argv: Argv) -> Reply:
    manager_of(s).enable(find(s, argv[1]))
    return OK


@command("WEBHOOK.DISABLE name", "Stops a webhook: it captures nothing, and what is pending waits.",
         group="webhook", since=SINCE, flags=FLAGS)  # fmt: skip
@refusing
def disable(s: Session, argv: Argv) -> Reply:
    manager_of(s).disable(find(s, argv[1]))
    return OK


@command("WEBHOOK.PAUSE name", "Holds what is pending for a webhook, which goes on capturing.",
         group="webhook", since=SINCE, flags=FLAGS)  # fmt: skip
@refusing
def pause(s: Session, argv: Argv) -> Reply:
    manager_of(s).pause(find(s, argv[1]), True)
    return OK


@command("WEBHOOK.RESUME name", "Lets a paused webhook deliver again.",
         group="webhook", since=SINCE, flags=FLAGS)  # fmt: skip
@refusing
def resume(s: Session, argv: Argv) -> Reply:
    manager_of(s).pause(find(s, argv[1]), False)
    return OK


@command("WEBHOOK.ROTATE name [SECRET <secret | GENERATE | GENERATE_V1A>] [OVERLAP seconds]",
         "Gives a webhook a new secret; the old one signs beside it until the overlap ends.",
         group="webhook", since=SINCE, flags=FLAGS + " secret")  # fmt: skip
@refusing
def rotate(s: Session, argv: Argv) -> Reply:
    words = options(argv, 2, (b"SECRET", b"OVERLAP"), show=False)
    overlap = number(words, b"OVERLAP", DAY_SECONDS, 0, MAX_OVERLAP_SECONDS)
    try:
        secret = words.get(b"SECRET", b"GENERATE").decode()
    except UnicodeDecodeError:
        raise ReplyError("ERR SECRET: a secret has to be UTF-8") from None
    return secret_once(manager_of(s).rotate(find(s, argv[1]), secret, overlap))


def options(argv: Argv, start: int, known: tuple[bytes, ...], show: bool = True) -> dict[bytes, bytes]:
    """Keywords with one value each, in any case and order, from argv[start] on. Raises ReplyError.

    `show` False: an unknown word may be a secret in the wrong place."""
    found: dict[bytes, bytes] = {}
    for i in range(start, len(argv), 2):
        word = argv[i].upper()
        if word not in known:
            raise ReplyError(f"ERR unknown option '{printable(argv[i], 64)}'" if show else SYNTAX)
        if word in found:
            raise ReplyError(f"ERR option {word.decode()} is given twice")
        if i + 1 == len(argv):
            raise ReplyError(SYNTAX)
        found[word] = argv[i + 1]
    return found


def number(words: dict[bytes, bytes], name: bytes, default: int, low: int, high: int) -> int:
    """The whole number behind a keyword. Raises ReplyError."""
    raw = words.get(name)
    if raw is None:
        return default
    if not (raw.isdigit() and len(raw) < 19 and low <= int(raw) <= high):
        shown = printable(raw, 64)
        raise ReplyError(f"ERR {name.decode()}: expected a whole number from {low} to {high}, got '{shown}'")
    return int(raw)
