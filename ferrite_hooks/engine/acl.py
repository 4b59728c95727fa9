"""Users: who may log in, what they may do (see acl_rules), and the log of what was refused.

A change is tried on a copy and takes effect whole or not at all. Afterwards every session of the user is
looked at again: one that subscribes to what it no longer may hear is closed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import TYPE_CHECKING

from ferrite_hooks.engine.acl_rules import (
    ALLOWED,
    CHANNEL,
    COMMAND,
    KEY,
    RuleError,
    User,
    Verdict,
    merge_selectors,
    valid_name,
)
from ferrite_hooks.engine.client_info import describe
from ferrite_hooks.errors import WRONGPASS, ReplyError, whole
from ferrite_hooks.store.files import DISK, Files, replace_file

if TYPE_CHECKING:
    from ferrite_hooks.engine.command import Argv, Command
    from ferrite_hooks.engine.engine import Engine
    from ferrite_hooks.engine.session import Session

_REASONS = {COMMAND: "command", KEY: "key", CHANNEL: "channel"}
_CHANGED = {  # EXEC's reasons
    COMMAND: "no permission to execute the command or subcommand",
    KEY: "no permission to touch the specified keys",
    CHANNEL: "no permission to access one of the channels used as arguments",
}
_GROUPED_MS = 60_000  # the same refusal within this time is counted, not listed again
_DEFAULT_RULES = (b"+@all", b"~*", b"&*", b"on", b"nopass")


class LogEntry:
    """One line of ACL LOG."""

    __slots__ = ("context", "count", "created", "id", "info", "object", "reason", "updated", "user")

    def __init__(self, number: int, reason: str, context: str, object: bytes, user: str, now: int, info: str) -> None:
        self.id = number
        self.count = 1
        self.reason = reason
        self.context = context
        self.object = object
        self.user = user
        self.created = self.updated = now  # unix ms
        self.info = info


class Acl:
    __slots__ = ("_engine", "default", "denied", "log", "log_id", "on_change", "users")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.default = _default_user()
        self.users = {"default": self.default}
        self.log: deque[LogEntry] = deque()  # the latest first
        self.log_id = 0
        self.denied = {"auth": 0, "command": 0, "key": 0, "channel": 0}  # for INFO
        self.on_change: Callable[[Collection[str]], None] = lambda users: None  # permissions; set by `app`

    # -- logging in ----------------------------------------------------------------------------------------------

    def authenticate(self, s: Session, name: bytes, password: bytes, word: bytes) -> None:
        """Makes the client the user `name`. Raises WRONGPASS, whatever the reason; ACL LOG then shows `word`, the
        command as the client spelt it."""
        user = self.users.get(_text(name))
        digest = sha256(password).hexdigest()
        known = user.passwords if user is not None else ()
        right = sum(compare_digest(digest, each) for each in known) > 0  # every one is compared
        if user is None or not user.enabled or not (user.nopass or right):
            self._note(s, "auth", word, _text(name))
            raise ReplyError(WRONGPASS)
        s.login(user)

    def welcome(self, s: Session) -> None:
        """A new connection, or one that RESET has made new, is the default user if that needs no password."""
        s.user = self.default
        s.authenticated = self.default.nopass and self.default.enabled
        s.refresh()

    def require_password(self, password: str) -> None:
        """`requirepass`: the default user's only password; the empty string removes the need for one."""
        rules = [b"resetpass", b">" + password.encode("utf-8", "surrogateescape")] if password else [b"nopass"]
        self.set_user("default", rules)

    # -- checking ------------------------------------------------------------------------------------------------

    def check(self, s: Session, command: Command, argv: Argv, context: str = "") -> None:
        """Raises NOPERM if the client's user may not run this, and logs it. `context` is where the command
        stands: toplevel, multi or lua."""
        verdict = s.user.judge(command, argv)
        if verdict[0] != ALLOWED:
            command.rejected += 1
            self._refuse(s, command, argv, verdict, context or ("multi" if s.queue is not None else "toplevel"))
            raise ReplyError("NOPERM " + self.explain(s.user, command, argv, verdict, verbose=False))

    def check_again(self, s: Session, command: Command, argv: Argv) -> None:
        """The check of a queued command when EXEC runs it. Raises NOPERM."""
        verdict = s.user.judge(command, argv)
        if verdict[0] != ALLOWED:
            self._refuse(s, command, argv, verdict, "multi")
            raise ReplyError(
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. "
                f"This command is no longer allowed for the following reason: {_CHANGED[verdict[0]]}"
            )

    @staticmethod
    def explain(user: User, command: Command, argv: Argv, verdict: Verdict, verbose: bool) -> str:
        reason, at = verdict
        if reason == COMMAND:
            return f"User {user.name} has no permissions to run the '{command.name}' command"
        if verbose:
            return f"User {user.name} has no permissions to access the '{whole(argv[at])}' {_REASONS[reason]}"
        return f"No permissions to access a {_REASONS[reason]}"

    def _refuse(self, s: Session, command: Command, argv: Argv, verdict: Verdict, context: str) -> None:
        reason, at = verdict
        self._note(s, _REASONS[reason], command.name.encode() if reason == COMMAND else argv[at], s.user.name, context)

    def _note(self, s: Session, reason: str, object: bytes, user: str, context: str = "") -> None:
        """Adds to ACL LOG, or counts once more what it has among its latest entries."""
        self.denied[reason] += 1
        now, info = self._engine.clock.now, describe(s)
        context = context or ("multi" if s.queue is not None else "toplevel")
        for entry in list(self.log)[:10]:
            if (entry.reason, entry.context, entry.object, entry.user) == (reason, context, object, user) and (
                now - entry.updated <= _GROUPED_MS
            ):
                entry.count += 1
                entry.updated, entry.info = now, info
                self.log.remove(entry)
                self.log.appendleft(entry)
                return
        self.log.appendleft(LogEntry(self.log_id, reason, context, object, user, now, info))
        self.log_id += 1
        while len(self.log) > self._engine.settings["acllog-max-len"]:
            self.log.pop()

    # -- changing ------------------------------------------------------------------------------------------------

    def set_user(self, name: str, rules: list[bytes]) -> None:
        """ACL SETUSER. Raises ReplyError, and then nothing has changed."""
        user = self.users.get(name)
        changed = User(name, self._all_channels)
        if user is not None:
            changed.become(user)
        try:
            for rule in merge_selectors(rules):
                try:
                    changed.apply(rule, self._all_channels)
                except RuleError as error:
                    raise ReplyError(f"ERR Error in ACL SETUSER modifier '{whole(rule)}': {error}") from None
        except RuleError as error:
            raise ReplyError(f"ERR {error}") from None
        if user is None:
            user = self.users[name] = User(name)
        user.become(changed)
        self._changed({user})

    @property
    def _all_channels(self) -> bool:
        return bool(self._engine.settings["acl-pubsub-default"] == "allchannels")

    def delete_user(self, name: str) -> bool:
        """Removes a user and closes its connections. Returns False if there is none."""
        user = self.users.pop(name, None)
        if user is None:
            return False
        for s in list(self._engine.sessions.values()):
            if s.user is user:
                self._expel(s)
        self.on_change({name})
        return True

    def _expel(self, s: Session) -> None:
        self.welcome(s)
        s.authenticated = False
        s.refresh()
        self._engine.kill(s)

    def _changed(self, users: set[User]) -> None:
        for s in list(self._engine.sessions.values()):
            if s.user in users:
                if s.user is self.default and s.user.nopass and s.user.enabled:
                    s.authenticated = True
                s.refresh()
                if s.subscribed and not _may_listen(s):
                    self._engine.kill(s)
        self.on_change({user.name for user in users})

    # -- file ----------------------------------------------------------------------------------------------------

    def load(self, path: str) -> None:
        """ACL LOAD: replaces all users by those of a file. Connections of users that are gone or different are
        closed. Raises ReplyError that names every bad line, and then nothing has changed."""
        try:
            lines = Path(path).read_bytes().split(b"\n")
        except OSError as error:
            raise ReplyError(f"ERR Error loading ACLs, opening file '{path}': {error.strerror}") from None
        users, errors = self._parse(path, lines)
        if errors:
            raise ReplyError(
                "ERR " + " ".join(errors) + " WARNING: ACL errors detected, no change to the previously active ACL "
                "rules was performed"
            )
        fresh = users.pop("default", None) or _default_user()
        before = {name: user.describe() for name, user in self.users.items()}
        self.default.become(fresh)
        for name in [name for name in self.users if name != "default" and name not in users]:
            self.delete_user(name)
        for name, user in users.items():
            self.users.setdefault(name, user).become(user)
        for s in list(self._engine.sessions.values()):
            if s.user is not self.default and before.get(s.user.name) != s.user.describe():
                self._expel(s)
        self._changed(set(self.users.values()))

    def _parse(self, path: str, lines: list[bytes]) -> tuple[dict[str, User], list[str]]:
        users: dict[str, User] = {}
        errors: list[str] = []
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words:
                continue
            if words[0] != b"user" or len(words) < 2:
                errors.append(f"{path}:{number} should start with user keyword followed by the username.")
                continue
            name = _text(words[1])
            if not valid_name(words[1]):
                errors.append(f"{path}:{number}: username '{name}' contains invalid characters.")
            elif name in users:
                errors.append(f"WARNING: Duplicate user '{name}' found on line {number}.")
            else:
                user = users[name] = User(name, self._all_channels)
                errors += [f"{path}:{number}: {error}" for error in self._apply_line(user, words[2:])]
        return users, errors

    def _apply_line(self, user: User, rules: list[bytes]) -> list[str]:
        """Applies a line's rules. Returns what is wrong: every unknown name, and the first of other errors."""
        try:
            rules = merge_selectors(rules)
        except RuleError:
            return ["Unmatched parenthesis in selector definition."]
        errors: list[str] = []
        told = False
        for rule in rules:
            try:
                user.apply(rule, self._all_channels)
            except RuleError as error:
                if error.unknown:
                    errors.append(f"Error in applying operation '{_text(rule)}': {error}.")
                elif not told:
                    errors.append(f"{error}.")
                    told = True
        return errors

    def save(self, path: str, files: Files = DISK) -> None:
        """ACL SAVE: writes all users to a file, which is replaced at once. Raises OSError."""
        text = "".join([f"{line}\n" for line in self.listing()])
        replace_file(files, Path(path), text.encode("utf-8", "surrogateescape"))

    def listing(self) -> list[str]:
        """A line for each user, as ACL LIST and the file show them."""
        return [f"user {name} {user.describe()}" for name, user in sorted(self.users.items())]


def _default_user() -> User:
    user = User("default")
    for rule in _DEFAULT_RULES:
        user.apply(rule)
    return user


def _may_listen(s: Session) -> bool:
    channels = [*s.channels, *s.shard_channels]
    return all(s.user.may_listen(channel, False) for channel in channels) and all(
        s.user.may_listen(pattern, True) for pattern in s.patterns
    )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
