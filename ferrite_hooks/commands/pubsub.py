"""Pub/Sub: messages to whoever listens on a channel, or on all channels that match a pattern."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ferrite_hooks import glob
from ferrite_hooks.commands.common import help_lines
from ferrite_hooks.engine.command import Argv, command, container
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import ReplyError
from ferrite_hooks.resp.reply import Push, Reply, Several

container("PUBSUB", "Who listens to what.", group="pubsub", since="2.8.0")

_FLAGS = "pubsub noscript loading stale"
_NONE: list[bytes | None] = [None]  # what a client unsubscribes from that listens to nothing


def _confirm(s: Session, names: Iterable[bytes | None], act: Callable[[bytes], None], word: bytes) -> Reply:
    """Changes one subscription after another and confirms each with the number that is left."""
    sharded = word in (b"ssubscribe", b"sunsubscribe")
    confirmed: list[Reply] = []
    for name in names:
        if name is not None:
            act(name)
        count = len(s.shard_channels) if sharded else len(s.channels) + len(s.patterns)
        confirmed.append(Push([word, name, count]))
    if s.reply_mode != "on":
        for push in confirmed:  # they come even when replies do not
            s.push(push)
    return confirmed[0] if len(confirmed) == 1 else Several(confirmed)


@command("SUBSCRIBE channel [channel ...]", "Listens to channels.", group="pubsub", since="2.0.0", flags=_FLAGS)
def subscribe(s: Session, argv: Argv) -> Reply:
    pubsub = s.engine.pubsub
    return _confirm(s, argv[1:], lambda channel: pubsub.subscribe(s, channel), b"subscribe")


@command("UNSUBSCRIBE [channel [channel ...]]", "Stops listening to channels, or to all of them.",
         group="pubsub", since="2.0.0", flags=_FLAGS)  # fmt: skip
def unsubscribe(s: Session, argv: Argv) -> Reply:
    pubsub = s.engine.pubsub
    names: Sequence[bytes | None] = argv[1:] or list(s.channels) or _NONE
    return _confirm(s, names, lambda channel: pubsub.unsubscribe(s, channel), b"unsubscribe")


@command("PSUBSCRIBE pattern [pattern ...]", "Listens to all channels that match patterns.",
         group="pubsub", since="2.0.0", flags=_FLAGS)  # fmt: skip
def psubscribe(s: Session, argv: Argv) -> Reply:
    pubsub = s.engine.pubsub
    return _confirm(s, argv[1:], lambda pattern: pubsub.psubscribe(s, pattern), b"psubscribe")


@command("PUNSUBSCRIBE [pattern [pattern ...]]", "Stops listening to patterns, or to all of them.",
         group="pubsub", since="2.0.0", flags=_FLAGS)  # fmt: skip
def punsubscribe(s: Session, argv: Argv) -> Reply:
    pubsub = s.engine.pubsub
    names: Sequence[bytes | None] = argv[1:] or list(s.patterns) or _NONE
    return _confirm(s, names, lambda pattern: pubsub.punsubscribe(s, pattern), b"punsubscribe")


@command("SSUBSCRIBE shardchannel [shardchannel ...]", "Listens to shard channels.",
         group="pubsub", since="7.0.0", flags=_FLAGS, keys="not_key @1:-1")  # fmt: skip
def ssubscribe(s: Session, argv: Argv) -> Reply:
    if s.deny_blocking:
        raise ReplyError("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client")
    pubsub = s.engine.pubsub
    return _confirm(s, argv[1:], lambda channel: pubsub.ssubscribe(s, channel), b"ssubscribe")


@command("SUNSUBSCRIBE [shardchannel [shardchannel ...]]", "Stops listening to shard channels, or to all of them.",
         group="pubsub", since="7.0.0", flags=_FLAGS, keys="not_key @1:-1")  # fmt: skip
def sunsubscribe(s: Session, argv: Argv) -> Reply:
    pubsub = s.engine.pubsub
    names: Sequence[bytes | None] = argv[1:] or list(s.shard_channels) or _NONE
    return _confirm(s, names, lambda channel: pubsub.sunsubscribe(s, channel), b"sunsubscribe")


@command("PUBLISH channel message", "Sends a message to a channel.",
         group="pubsub", since="2.0.0", flags="pubsub loading stale fast may_replicate")  # fmt: skip
def publish(s: Session, argv: Argv) -> Reply:
    return s.engine.pubsub.publish(argv[1], argv[2])


@command("SPUBLISH shardchannel message", "Sends a message to a shard channel.",
         group="pubsub", since="7.0.0", flags="pubsub loading stale fast may_replicate",
         keys="not_key @1")  # fmt: skip
def spublish(s: Session, argv: Argv) -> Reply:
    return s.engine.pubsub.spublish(argv[1], argv[2])


@command("PUBSUB CHANNELS [pattern]", "The channels that someone listens to.",
         group="pubsub", since="2.8.0", flags="pubsub loading stale")  # fmt: skip
def pubsub_channels(s: Session, argv: Argv) -> Reply:
    return _matching(s.engine.pubsub.channels, argv)


@command("PUBSUB SHARDCHANNELS [pattern]", "The shard channels that someone listens to.",
         group="pubsub", since="7.0.0", flags="pubsub loading stale")  # fmt: skip
def pubsub_shardchannels(s: Session, argv: Argv) -> Reply:
    return _matching(s.engine.pubsub.shard_channels, argv)


def _matching(names: Iterable[bytes], argv: Argv) -> Reply:
    return list(names) if len(argv) == 2 else list(filter(glob.compile(argv[2]), names))


@command("PUBSUB NUMSUB [channel [channel ...]]", "How many clients listen to each of these channels.",
         group="pubsub", since="2.8.0", flags="pubsub loading stale")  # fmt: skip
def pubsub_numsub(s: Session, argv: Argv) -> Reply:
    channels = s.engine.pubsub.channels
    return [part for name in argv[2:] for part in (name, len(channels.get(name, ())))]


@command("PUBSUB SHARDNUMSUB [shardchannel [shardchannel ...]]",
         "How many clients listen to each of these shard channels.",
         group="pubsub", since="7.0.0", flags="pubsub loading stale")  # fmt: skip
def pubsub_shardnumsub(s: Session, argv: Argv) -> Reply:
    channels = s.engine.pubsub.shard_channels
    return [part for name in argv[2:] for part in (name, len(channels.get(name, ())))]


@command("PUBSUB NUMPAT", "How many different patterns someone listens to.",
         group="pubsub", since="2.8.0", flags="pubsub loading stale")  # fmt: skip
def pubsub_numpat(s: Session, argv: Argv) -> Reply:
    return len(s.engine.pubsub.patterns)


@command("PUBSUB HELP", "The subcommands of PUBSUB.", group="pubsub", since="6.2.0", flags="loading stale")
def pubsub_help(s: Session, argv: Argv) -> Reply:
    return help_lines("PUBSUB")
