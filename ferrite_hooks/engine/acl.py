"""Users and what they may do."""

from __future__ import annotations

from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING

from ferrite_hooks.errors import WRONGPASS, ReplyError

if TYPE_CHECKING:
    from ferrite_hooks.engine.command import Argv, Command
    from ferrite_hooks.engine.session import Session


class User:
    __slots__ = ("enabled", "name", "nopass", "passwords", "unrestricted")

    def __init__(self, name: str) -> None:
        self.name = name
        self.enabled = True
        self.nopass = True
        self.passwords: dict[str, None] = {}  # SHA-256, hex
        self.unrestricted = True  # may do everything: `run` need not ask

    def check(self, s: Session, command: Command, argv: Argv) -> None:
        """Raises ReplyError NOPERM."""

    def check_again(self, s: Session, command: Command, argv: Argv) -> None:
        """The check of a queued command when EXEC runs it. Raises ReplyError NOPERM."""


class Acl:
    __slots__ = ("default", "users")

    def __init__(self) -> None:
        self.default = User("default")
        self.users = {"default": self.default}

    def authenticate(self, s: Session, name: bytes, password: bytes) -> None:
        """Makes the client the user `name`. Raises WRONGPASS, whatever the reason."""
        user = self.users.get(name.decode("utf-8", "surrogateescape"))
        digest = sha256(password).hexdigest()
        known = user.passwords if user is not None else ()
        right = sum(compare_digest(digest, each) for each in known) > 0  # every one is compared
        if user is None or not user.enabled or not (user.nopass or right):
            raise ReplyError(WRONGPASS)
        s.login(user)

    def welcome(self, s: Session) -> None:
        """A new connection, or one that RESET has made new, is the default user if that needs no password."""
        s.user = self.default
        s.authenticated = self.default.nopass and self.default.enabled
        s.refresh()

    def require_password(self, password: str) -> None:
        """`requirepass`: the default user's only password; empty = none needed."""
        self.default.nopass = not password
        self.default.passwords = {sha256(password.encode()).hexdigest(): None} if password else {}
