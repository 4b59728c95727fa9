"""The first line of a script or library, `#!lua name=… flags=…`: what it declares about itself."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ferrite_hooks.errors import ReplyError, whole
from ferrite_hooks.resp.parser import split_inline


@dataclass(frozen=True, slots=True)
class Flags:
    """What a script says it will and will not do. One without the line says nothing (`declared` is False) and is
    judged by each command that it runs."""

    no_writes: bool = False
    allow_oom: bool = False
    allow_stale: bool = False
    no_cluster: bool = False
    allow_cross_slot_keys: bool = False
    declared: bool = True

    @classmethod
    def of(cls, names: list[str]) -> Flags:
        return cls(**{name.replace("-", "_"): True for name in names})

    def refine(self, flags: frozenset[str]) -> frozenset[str]:
        """The flags of a command when it runs such a script."""
        if not self.declared:
            return flags
        return flags - {"may_replicate"} if self.no_writes else flags | {"write"}

    def names(self) -> list[str]:
        """In the order in which Redis lists them."""
        return [name for name in FLAGS if getattr(self, name.replace("-", "_"))]


FLAGS = tuple(field.name.replace("_", "-") for field in fields(Flags) if field.name != "declared")
_UNDECLARED = Flags(declared=False)
_NAMES = {name.encode(): name for name in FLAGS}


def of_script(source: bytes) -> tuple[Flags, bytes]:
    """The flags of a script, and what is to be compiled: its lines keep their numbers. Raises ReplyError."""
    if not source.startswith(b"#!"):
        return _UNDECLARED, source
    end = source.find(b"\n")
    if end < 0:
        raise ReplyError("ERR Invalid script shebang")
    engine, *options = split_inline(source[:end]) or [b""]
    if not engine:
        raise ReplyError("ERR Invalid engine in script shebang")
    if engine != b"#!lua":
        raise ReplyError(f"ERR Unexpected engine in script shebang: {whole(engine)}")
    names: list[str] = []
    for option in options:
        if not option.startswith(b"flags="):
            raise ReplyError(f"ERR Unknown lua shebang option: {whole(option)}")
        for flag in filter(None, option[6:].split(b",")):
            if flag not in _NAMES:
                raise ReplyError(f"ERR Unexpected flag in script shebang: {whole(flag)}")
            names.append(_NAMES[flag])
    return Flags.of(names), source[end:]


def of_library(source: bytes) -> tuple[bytes, bytes, bytes]:
    """Engine, name and what is to be compiled of a library. Raises ReplyError."""
    if not source.startswith(b"#!"):
        raise ReplyError("ERR Missing library metadata")
    end = source.find(b"\n")
    if end < 0:
        raise ReplyError("ERR Invalid library metadata")
    engine, *options = split_inline(source[:end]) or [b""]
    if not engine:
        raise ReplyError("ERR Invalid library metadata")
    name: bytes | None = None
    for option in options:
        if option[:5].lower() != b"name=":
            raise ReplyError(f"ERR Invalid metadata value given: {whole(option)}")
        if name is not None:
            raise ReplyError("ERR Invalid metadata value, name argument was given multiple times")
        name = option[5:]
    if name is None:
        raise ReplyError("ERR Library name was not given")
    return engine[2:], name, source[end:]
