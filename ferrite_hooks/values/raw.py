"""A string that was changed in place: what Redis calls the raw encoding.

Strings are `bytes`. APPEND, SETRANGE, SETBIT and BITFIELD turn one into a Raw, so that a bit set in a bitmap of
megabytes does not copy it; `Database.read(key, bytes)` hands out a copy, and SET stores plain bytes again.
"""

from __future__ import annotations


class Raw(bytearray):
    """A mutable string value."""

    __slots__ = ()
