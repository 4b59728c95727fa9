"""WEBHOOK.*: what was delivered and what was not, sending again, and events of the application's own.

TEST, DELIVERIES and REPLAY from the journal have to wait for a network or a disk: they answer later, as blocked
commands do, and hold up no other client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from ferrite_hooks.commands.webhook import FLAGS, SINCE, find, manager_of, number, options, refusing
from ferrite_hooks.engine.blocking import Wait, resolve
from ferrite_hooks.engine.command import Argv, all_commands, command
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import SYNTAX, UNBLOCKED, ReplyError, printable
from ferrite_hooks.resp.reply import Reply, Simple
from ferrite_hooks.webhooks import history, report
from ferrite_hooks.webhooks.options import Refusal

MAX_COUNT = 10_000
FOREVER = 1 << 62


def later(s: Session, start: Callable[[Callable[[Reply], None]], object]) -> Reply:
    """A reply that `start` will give to the function it is called with: now, or when its work is done.

    Raises ReplyError where a client cannot wait: in a transaction or a script.
    """
    if s.deny_blocking:
        raise ReplyError("ERR this command has to wait for its answer and is not allowed in a transaction or script")
    wait = Wait(empty=ReplyError(UNBLOCKED))
    early: list[Reply] = []

    def answer(reply: Reply) -> None:
        if s.blocked is wait:
            resolve(s, wait, reply)
        else:
            early.append(reply)

    start(answer)
    return early[0] if early else wait


def answer_with(answer: Callable[[Reply], None], work: Callable[[], Reply]) -> None:
    """Gives what `work` returns or refuses."""
    try:
        answer(work())
    except Refusal as refusal:
        answer(ReplyError(f"ERR {refusal}"))
    except OSError as broken:
        answer(ReplyError(f"ERR the journal cannot be read: {broken.strerror or broken}"))


@command("WEBHOOK.TEST name", "Sends one test event now, outside of the queue, and tells what came of it.",
         group="webhook", since=SINCE, flags=FLAGS + " blocking")  # fmt: skip
@refusing
def test(s: Session, argv: Argv) -> Reply:
    manager, delivery = manager_of(s), find(s, argv[1])

    def start(answer: Callable[[Reply], None]) -> None:
        manager.test(delivery, lambda told: answer({**told, "latency_ms": report.number(told["latency_ms"])}))

    return later(s, start)


@command("WEBHOOK.DELIVERIES name [COUNT count] [STATUS <DELIVERED | RETRYING | DEAD>] [BEFORE id]",
         "Lists the newest requests of a webhook and what came of them.",
         group="webhook", since=SINCE, flags=FLAGS + " readonly blocking")  # fmt: skip
@refusing
def deliveries(s: Session, argv: Argv) -> Reply:
    words = options(argv, 2, (b"COUNT", b"STATUS", b"BEFORE"))
    count = number(words, b"COUNT", 10, 1, MAX_COUNT)
    before = number(words, b"BEFORE", FOREVER, 0, FOREVER)
    status = words[b"STATUS"].decode("utf-8", "replace").lower() if b"STATUS" in words else None
    if status is not None and status not in history.STATUSES:
        shown = printable(words[b"STATUS"])
        raise ReplyError(f"ERR STATUS: expected {' | '.join(history.STATUSES)}, got '{shown}'")
    manager, delivery = manager_of(s), find(s, argv[1])
    if manager.history is None:
        return []
    found = manager.history.deliveries(delivery.webhook.serial, count, status, before)
    return later(s, lambda answer: asyncio.wrap_future(found).add_done_callback(
        lambda rows: answer([report.attempt(row) for row in rows.result()])
    ))  # fmt: skip


@command("WEBHOOK.STATS [name]", "Counts and latencies of one webhook, or of all the user's.",
         group="webhook", since=SINCE, flags=FLAGS + " readonly")  # fmt: skip
@refusing
def stats(s: Session, argv: Argv) -> Reply:
    manager, user = manager_of(s), s.user.name
    if len(argv) > 1:
        return report.stats(manager, [find(s, argv[1])], everything=False)
    return report.stats(manager, manager.visible_to(user), everything=manager.outside.is_admin(user))


@command("WEBHOOK.DEAD name [COUNT count]", "Lists the newest dead letters of a webhook.",
         group="webhook", since=SINCE, flags=FLAGS + " readonly")  # fmt: skip
@refusing
def dead(s: Session, argv: Argv) -> Reply:
    count = number(options(argv, 2, (b"COUNT",)), b"COUNT", 10, 1, MAX_COUNT)
    manager, delivery = manager_of(s), find(s, argv[1])
    newest = islice(reversed(delivery.dead.values()), count)
    return [report.letter(manager, letter) for letter in newest]


@command("WEBHOOK.PURGE name [PENDING | DEAD]", "Drops what is pending for a webhook, or its dead letters.",
         group="webhook", since=SINCE, flags=FLAGS)  # fmt: skip
@refusing
def purge(s: Session, argv: Argv) -> Reply:
    which = argv[2].upper() if len(argv) == 3 else b"PENDING"
    if which not in (b"PENDING", b"DEAD"):
        raise ReplyError(SYNTAX)
    return manager_of(s).purge(find(s, argv[1]), dead=which == b"DEAD")


@command("WEBHOOK.REPLAY name <DEAD | SINCE time [UNTIL time] | EVENT id [id ...]>",
         "Queues events again: dead letters, what the journal has of a time, or single events.",
         group="webhook", since=SINCE, flags=FLAGS + " blocking", arity=-3)  # fmt: skip
@refusing
def replay(s: Session, argv: Argv) -> Reply:
    manager, delivery = manager_of(s), find(s, argv[1])
    which = argv[2].upper()
    if which == b"DEAD" and len(argv) == 3:
        return manager.replay_dead(delivery)
    if which == b"SINCE" and len(argv) in (4, 6):
        since, until = instant(b"SINCE", argv[3]), FOREVER
        if len(argv) == 6:
            if argv[4].upper() != b"UNTIL":
                raise ReplyError(SYNTAX)
            until = instant(b"UNTIL", argv[5])
        return _from_journal(s, argv[1], 0, since, until, None)
    if which == b"EVENT" and len(argv) > 3:
        ids = [id.decode("utf-8", "replace") for id in argv[3:]]
        replayed, missing = manager.replay_events(delivery, ids)
        if not missing or manager.frames is None:
            return replayed
        return _from_journal(s, argv[1], replayed, 0, FOREVER, frozenset(missing))
    raise ReplyError(SYNTAX)


def _from_journal(
    s: Session, name: bytes, already: int, since: int, until: int, positions: frozenset[int] | None
) -> Reply:
    manager, delivery = manager_of(s), find(s, name)
    if manager.frames is None:
        raise Refusal("there is no journal to replay from (journal.enabled is off)")

    def start(answer: Callable[[Reply], None]) -> None:
        def read(found: asyncio.Future[Any]) -> None:
            def work() -> Reply:
                changes = found.result()
                if manager.registry.named(delivery.webhook.name) is not delivery:
                    raise Refusal("the webhook was deleted meanwhile")
                return already + manager.requeue(delivery, changes)

            answer_with(answer, work)

        loop = asyncio.get_running_loop()
        loop.run_in_executor(
            None, manager.find_in_journal, delivery, since, until, positions
        ).add_done_callback(read)

    return later(s, start)


def instant(option: bytes, raw: bytes) -> int:
    """Unix milliseconds, or ISO 8601 (UTC where it names no zone). Raises ReplyError."""
    text = raw.decode("utf-8", "replace")
    if raw.isdigit() and len(raw) < 17:
        return int(raw)
    try:
        time = datetime.fromisoformat(text)
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        expected = "unix milliseconds or an ISO 8601 time"
        raise ReplyError(f"ERR {option.decode()}: expected {expected}, got '{printable(raw, 64)}'") from None


@command("WEBHOOK.EMIT event [KEY key] [RESOURCE id] [DATA json]",
         "Sends an event of the application's own, such as user.created, to the webhooks that want it.",
         group="webhook", since=SINCE, flags="stale fast")  # fmt: skip
@refusing
def emit(s: Session, argv: Argv) -> Reply:
    words = options(argv, 2, (b"KEY", b"RESOURCE", b"DATA"))
    try:
        event, resource = argv[1].decode(), words.get(b"RESOURCE", b"").decode()
    except UnicodeDecodeError:
        raise ReplyError("ERR an event's name and resource have to be UTF-8") from None
    if len(resource) > 512:
        raise ReplyError("ERR RESOURCE: at most 512 characters")
    return manager_of(s).emit(
        event, s.user.name, key=words.get(b"KEY"), resource=resource, data=words.get(b"DATA", b"null"),
        db=s.db.index, command="WEBHOOK.EMIT", client=s.id, ip=s.ip,
        transaction=s.engine.transaction,
    )  # fmt: skip


@command("WEBHOOK.HELP", "Tells what the WEBHOOK commands do.", group="webhook", since=SINCE, flags="loading stale")
def help_webhook(s: Session, argv: Argv) -> Reply:
    lines = ["WEBHOOK.<command> [<arg> [value] [opt] ...]. Commands are:"]
    for each in all_commands():
        if each.group == "webhook":
            lines += [each.syntax, f"    {each.summary}"]
    return [Simple(line.encode()) for line in lines]
