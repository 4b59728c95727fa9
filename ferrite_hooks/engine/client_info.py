"""What CLIENT LIST, CLIENT INFO and ACL LOG say of a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ferrite_hooks.engine.session import Session


def kind_of(s: Session) -> str:
    return "pubsub" if s.subscribed else "normal"


_ENTRY = 128  # bytes that a watched key, a subscription or a tracked prefix takes, about


def memory(s: Session) -> int:
    """Bytes that a client takes: what it has sent and queued, what it was not told yet, what it listens to."""
    sizes = s.transport_info()
    entries = len(s.watching) + len(s.channels) + len(s.patterns) + len(s.shard_channels)
    if s.tracking is not None:
        entries += len(s.tracking.prefixes)
    heard = sizes.get("qbuf", 0) + sizes.get("argv-mem", 0) + s.queue_bytes
    return heard + sizes.get("obuf", 0) + sum(map(len, s.out)) + entries * _ENTRY


def describe(s: Session) -> str:
    """A line of CLIENT LIST, without its end."""
    engine, sizes = s.engine, s.transport_info()
    now = engine.clock.now // 1000
    queued = -1 if s.queue is None else len(s.queue)
    pending = sum(map(len, s.out))
    facts: dict[str, object] = {
        "id": s.id, "addr": s.addr, "laddr": s.laddr, "fd": s.fileno(), "name": _text(s.name),
        "age": now - s.created_at // 1000, "idle": now - s.last_at // 1000, "flags": _flags(s), "db": s.db.index,
        "sub": len(s.channels), "psub": len(s.patterns), "ssub": len(s.shard_channels), "multi": queued,
        "qbuf": sizes.get("qbuf", 0), "qbuf-free": sizes.get("qbuf-free", 0), "argv-mem": sizes.get("argv-mem", 0),
        "multi-mem": s.queue_bytes, "rbs": 0, "rbp": 0, "obl": pending, "oll": sizes.get("oll", 0),
        "omem": sizes.get("obuf", 0),
        "tot-mem": memory(s),
        "events": "r", "cmd": s.last_command.name if s.last_command is not None else "NULL",
        "user": s.user.name, "redir": s.tracking.redirect if s.tracking is not None else -1, "resp": s.resp,
        "lib-name": _text(s.lib_name), "lib-ver": _text(s.lib_ver),
    }  # fmt: skip
    return " ".join([f"{name}={value}" for name, value in facts.items()])


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _flags(s: Session) -> str:
    """The letters of CLIENT LIST's `flags`."""
    tracking = s.tracking
    letters = (
        ("O", s in s.engine.monitors),
        ("P", s.subscribed),
        ("x", s.queue is not None),
        ("b", s.blocked is not None),
        ("t", tracking is not None),
        ("R", tracking is not None and tracking.broken),
        ("B", tracking is not None and tracking.broadcast),
        ("d", s.watch_broken),
        ("c", s.close_after_reply),
        ("U", s.laddr.endswith(":0")),
        ("e", s.no_evict),
        ("T", s.no_touch),
    )
    return "".join([letter for letter, holds in letters if holds]) or "N"
