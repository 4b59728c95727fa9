"""Users and what they may do."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ferrite_hooks.engine.command import Argv, Command
    from ferrite_hooks.engine.session import Session


class User:
    __slots__ = ("enabled", "name", "nopass", "passwords", "unrestricted")

    def __init__(self, name: str) -> None:
        self.name = name
        self.enabled = True
        self.nopass = True
        self.passwords: set[str] = set()  # SHA-256, hex
        self.unrestricted = True  # may do everything: `run` need not ask

    def check(self, s: Session, command: Command, argv: Argv) -> None:
        """Raises ReplyError NOPERM."""


class Acl:
    __slots__ = ("default", "users")

    def __init__(self) -> None:
        self.default = User("default")
        self.users = {"default": self.default}

    def require_password(self, password: str) -> None:
        """`requirepass`: the default user's only password; empty = none needed."""
        self.default.nopass = not password
        self.default.passwords = {hashlib.sha256(password.encode()).hexdigest()} if password else set()
