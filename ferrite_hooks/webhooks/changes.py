"""Changes as they come back from MessagePack: out of the journal, a snapshot, or the loop's process."""

from __future__ import annotations

from collections.abc import Sequence
from sys import intern
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from ferrite_hooks.messagepack import unpacker
from ferrite_hooks.webhooks.model import Change

_MOST_HOOKS: Final = 4096
_hooks: Final[dict[tuple[int, ...], tuple[int, ...]]] = {}

unpack_changes: Final = unpacker(list[Change])  # of one frame; raises ValueError


def revive(values: Sequence[Any]) -> Change:
    """A Change from the list that `unpack` gives back for it. Raises ValueError."""
    return share(msgspec.convert(values, Change))


def share(change: Change) -> Change:
    """The same change. Texts that many have are kept once."""
    if len(_hooks) > _MOST_HOOKS:
        _hooks.clear()
    return replace(
        change,
        event=intern(change.event),
        command=intern(change.command),
        ip=intern(change.ip),
        hooks=_hooks.setdefault(change.hooks, change.hooks),
    )
