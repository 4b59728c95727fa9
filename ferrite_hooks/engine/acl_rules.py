"""What a user may do: the rules of ACL SETUSER, what they allow, and how they are written down.

A user has a root selector and may have more; a command may run when one selector allows it together with all
its keys and channels. A selector keeps the set of commands it allows, for checking, and the rules that made
it, for showing: applied in order to `+@all` or `-@all` they give the same set again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256

from ferrite_hooks import glob
from ferrite_hooks.engine.command import COMMANDS, Argv, Command, all_commands
from ferrite_hooks.errors import ReplyError
from ferrite_hooks.resp.parser import split_inline

CATEGORIES = (
    "keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo",
    "stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting",
    "webhook",
)  # fmt: skip
READ, WRITE = 1, 2
ALLOWED, COMMAND, KEY, CHANNEL = range(4)  # why something is denied; of several reasons the highest is told
Verdict = tuple[int, int]  # (reason, index of the argument)

_HASH = re.compile(r"[0-9a-f]{64}\Z")
_BLANKS = re.compile(rb"[\s\0]")
_PERMISSIONS = {"%r~": READ, "%w~": WRITE, "%rw~": READ | WRITE, "%wr~": READ | WRITE}
_CHANNELS = {  # command -> (first, last, whether the arguments are patterns)
    "publish": (1, 2, False), "spublish": (1, 2, False), "subscribe": (1, None, False),
    "ssubscribe": (1, None, False), "psubscribe": (1, None, True),
}  # fmt: skip


class RuleError(Exception):
    """A rule that cannot be applied; `unknown` when it names a command or category that does not exist."""

    def __init__(self, text: str, unknown: bool = False) -> None:
        super().__init__(text)
        self.unknown = unknown


_SYNTAX = "Syntax error"
_UNKNOWN = "Unknown command or category name in ACL"
_AFTER_ALL = (
    "Adding a pattern after the * pattern (or the '%s' flag) is not valid and does not have any effect. "
    "Try '%s' to start with an empty list of %s"
)


class Selector:
    """Commands, keys and channels that are allowed together."""

    __slots__ = ("_first_args", "_rules", "all_channels", "all_commands", "all_keys", "channels", "commands", "future",
                 "keys")  # fmt: skip

    def __init__(self, all_channels: bool = False) -> None:
        self.all_keys = False
        self.all_commands = False
        self.all_channels = all_channels
        self.future = False  # began with +@all
        self.keys: dict[bytes, tuple[int, glob.Predicate]] = {}  # pattern -> permissions
        self.channels: dict[bytes, glob.Predicate] = {}
        self.commands: set[str] = set()
        self._first_args: dict[str, set[bytes]] = {}  # command -> the first arguments that are allowed of it
        self._rules: dict[str, str] = {}  # command, subcommand or category -> + or -, in order

    def copy(self) -> Selector:
        made = Selector(self.all_channels)
        made.all_keys, made.all_commands, made.future = self.all_keys, self.all_commands, self.future
        made.keys, made.channels, made.commands = dict(self.keys), dict(self.channels), set(self.commands)
        made._first_args = {name: set(args) for name, args in self._first_args.items()}
        made._rules = dict(self._rules)
        return made

    @property
    def unrestricted(self) -> bool:
        return self.all_keys and self.all_commands and self.all_channels

    # -- rules ---------------------------------------------------------------------------------------------------

    def apply(self, rule: str) -> None:
        """Applies one rule. Raises RuleError."""
        word = rule.lower()
        if word in ("allkeys", "~*"):
            self.all_keys = True
            self.keys.clear()
        elif word == "resetkeys":
            self.all_keys = False
            self.keys.clear()
        elif word in ("allchannels", "&*"):
            self.all_channels = True
            self.channels.clear()
        elif word == "resetchannels":
            self.all_channels = False
            self.channels.clear()
        elif word in ("allcommands", "+@all", "nocommands", "-@all"):
            self.all_commands = self.future = word in ("allcommands", "+@all")
            self.commands = {made.name for made in all_commands()} if self.future else set()
            self._rules.clear()
            self._first_args.clear()
        elif rule[:1] in ("~", "%"):
            self._add_keys(rule)
        elif rule[:1] == "&":
            self._add_channels(rule)
        elif rule[:2] in ("+@", "-@"):
            self._category(word)
        elif rule[:1] in ("+", "-"):
            self._command(word)
        else:
            raise RuleError(_SYNTAX)

    def _add_keys(self, rule: str) -> None:
        if self.all_keys:
            raise RuleError(_AFTER_ALL % ("allkeys", "resetkeys", "patterns"))
        head, _, text = rule.partition("~")
        permissions = READ | WRITE if not head else _PERMISSIONS.get(head.lower() + "~", 0)
        pattern = text.encode("utf-8", "surrogateescape")
        if not permissions or _BLANKS.search(pattern):
            raise RuleError(_SYNTAX)
        before = self.keys.get(pattern)
        self.keys[pattern] = (permissions | (before[0] if before else 0), glob.compile(pattern))

    def _add_channels(self, rule: str) -> None:
        if self.all_channels:
            raise RuleError(_AFTER_ALL % ("allchannels", "resetchannels", "channels"))
        pattern = rule[1:].encode("utf-8", "surrogateescape")
        if _BLANKS.search(pattern):
            raise RuleError(_SYNTAX)
        self.channels[pattern] = glob.compile(pattern)

    def _category(self, word: str) -> None:
        sign, name = word[0], word[2:]
        if name not in CATEGORIES:
            raise RuleError(_UNKNOWN, unknown=True)
        for made in all_commands():
            if name in made.acl:
                self._change(made, sign)
        self._note(sign, "@" + name)

    def _command(self, word: str) -> None:
        sign, name = word[0], word[1:]
        made = _lookup(name)
        if made is None and sign == "+" and "|" in name:
            self._first_arg(name)
        elif made is None:
            raise RuleError(_UNKNOWN, unknown=True)
        else:
            self._change(made, sign)
            self._note(sign, made.name)

    def _first_arg(self, name: str) -> None:
        head, _, arg = name.rpartition("|")
        made = _lookup(head)
        if made is None:
            raise RuleError(_UNKNOWN, unknown=True)
        if made.parent:
            raise RuleError("Allowing first-arg of a subcommand is not supported")
        if not arg:
            raise RuleError(_SYNTAX)
        if made.subcommands:
            raise RuleError(_UNKNOWN, unknown=True)
        self._first_args.setdefault(made.name, set()).add(arg.encode("utf-8", "surrogateescape"))
        self._note("+", name)

    def _change(self, made: Command, sign: str) -> None:
        names = [made.name, *[sub.name for sub in made.subcommands.values()]]
        self._first_args.pop(made.name, None)
        if sign == "+":
            self.commands.update(names)
        else:
            self.commands.difference_update(names)
            self.all_commands = False

    def _note(self, sign: str, name: str) -> None:
        """Remembers a rule; what it says of a command replaces what was said of it and of its subcommands."""
        for old in [old for old in self._rules if old == name or old.startswith(name + "|")]:
            del self._rules[old]
        self._rules[name] = sign

    # -- showing -------------------------------------------------------------------------------------------------

    def describe_commands(self) -> str:
        rules = [sign + name for name, sign in self._rules.items()]
        return " ".join(["+@all" if self.future else "-@all", *rules])

    def describe_keys(self) -> str:
        if self.all_keys:
            return "~*"
        prefix = {READ: "%R~", WRITE: "%W~", READ | WRITE: "~"}
        return " ".join([prefix[permissions] + _text(key) for key, (permissions, _) in self.keys.items()])

    def describe_channels(self) -> str:
        return "&*" if self.all_channels else " ".join(["&" + _text(channel) for channel in self.channels])

    def describe(self) -> str:
        channels = self.describe_channels() if self.all_channels else f"resetchannels {self.describe_channels()}"
        return " ".join(filter(None, (self.describe_keys(), channels.strip(), self.describe_commands())))

    # -- checking ------------------------------------------------------------------------------------------------

    def judge(self, command: Command, argv: Argv) -> Verdict:
        if not self.all_commands and command.name not in self.commands and "no_auth" not in command.flags:
            allowed = self._first_args.get(command.name)
            if allowed is None or len(argv) < 2 or argv[1].lower() not in allowed:
                return COMMAND, 0
        if not self.all_keys:
            for at, permissions in _keys(command, argv):
                if not self.allows_key(argv[at], permissions):
                    return KEY, at
        if not self.all_channels and command.name in _CHANNELS:
            first, last, is_pattern = _CHANNELS[command.name]
            for at in range(first, len(argv) if last is None else last):
                if not self.allows_channel(argv[at], is_pattern):
                    return CHANNEL, at
        return ALLOWED, 0

    def allows_key(self, key: bytes, permissions: int) -> bool:
        return self.all_keys or any(
            held & permissions == permissions and matches(key) for held, matches in self.keys.values()
        )

    def allows_every_key(self, permissions: int) -> bool:
        held = self.keys.get(b"*")
        return self.all_keys or (held is not None and held[0] & permissions == permissions)

    def allows_channel(self, channel: bytes, is_pattern: bool) -> bool:
        """A pattern to subscribe to must be one of the allowed ones, letter for letter."""
        if self.all_channels or is_pattern:
            return self.all_channels or channel in self.channels
        return any(matches(channel) for matches in self.channels.values())


def _lookup(name: str) -> Command | None:
    head, bar, sub = name.partition("|")
    made = COMMANDS.get(head.encode("utf-8", "surrogateescape"))
    return made.subcommands.get(sub.encode("utf-8", "surrogateescape")) if made is not None and bar else made


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _keys(command: Command, argv: Argv) -> Iterator[tuple[int, int]]:
    """(index, permissions needed) of the keys in `argv`; nothing when the arguments cannot hold any."""
    if not command.keys and command.getkeys is None:
        return
    try:
        positions = command.key_positions(argv)
    except ReplyError:
        return  # the handler will refuse them
    for at, flags in positions:
        if "not_key" in flags:
            continue
        reads = "access" in flags
        writes = "insert" in flags or "delete" in flags or "update" in flags
        if "variable_flags" in flags:
            if command.name == "set":
                reads = any(arg.upper() == b"GET" for arg in argv[at + 2 :])
            elif command.name == "bitfield":
                writes = any(arg.upper() in (b"SET", b"INCRBY") for arg in argv[at + 1 :])
        yield at, (READ if reads else 0) | (WRITE if writes else 0)


class User:
    __slots__ = ("enabled", "name", "nopass", "passwords", "sanitize", "selectors", "unrestricted")

    def __init__(self, name: str, all_channels: bool = False) -> None:
        self.name = name
        self.enabled = False
        self.nopass = False
        self.sanitize = True
        self.passwords: dict[str, None] = {}  # SHA-256, hex
        self.selectors = [Selector(all_channels)]  # the root first
        self.unrestricted = False  # may do everything: `run` need not ask

    def __repr__(self) -> str:
        return f"<User {self.name}>"  # never its passwords

    # -- rules ---------------------------------------------------------------------------------------------------

    def become(self, other: User) -> None:
        """Takes over everything but the name."""
        self.enabled, self.nopass, self.sanitize = other.enabled, other.nopass, other.sanitize
        self.passwords = dict(other.passwords)
        self.selectors = [selector.copy() for selector in other.selectors]
        self.unrestricted = any(selector.unrestricted for selector in self.selectors)

    def apply(self, rule: bytes, all_channels: bool = False) -> None:
        """Applies one rule; `all_channels` is what `reset` gives. Raises RuleError."""
        text = _text(rule)
        match text.lower():
            case "":
                pass
            case "on" | "off":
                self.enabled = text.lower() == "on"
            case "nopass" | "resetpass":
                self.nopass = text.lower() == "nopass"
                self.passwords.clear()
            case "sanitize-payload" | "skip-sanitize-payload":
                self.sanitize = text.lower() == "sanitize-payload"
            case "clearselectors":
                del self.selectors[1:]
            case "reset":
                self.become(User(self.name, all_channels))
            case _ if text[0] in ">#":
                self.passwords[_password(rule)] = None
                self.nopass = False
            case _ if text[0] in "<!":
                if self.passwords.pop(_password(rule), 0) == 0:
                    raise RuleError("The password you are trying to remove from the user does not exist")
            case _ if text[0] == "(" and text[-1] == ")":
                self._add_selector(rule[1:-1])
            case _:
                self.selectors[0].apply(text)
        self.unrestricted = any(selector.unrestricted for selector in self.selectors)

    def _add_selector(self, rules: bytes) -> None:
        words = split_inline(rules)
        if words is None:
            raise RuleError(_SYNTAX)
        selector = Selector()
        for word in words:
            selector.apply(_text(word))
        self.selectors.append(selector)

    # -- showing -------------------------------------------------------------------------------------------------

    def flags(self) -> list[str]:
        return [
            "on" if self.enabled else "off",
            *(["nopass"] if self.nopass else []),
            "sanitize-payload" if self.sanitize else "skip-sanitize-payload",
        ]

    def describe(self) -> str:
        """The rules that make this user, as ACL LIST and the ACL file show them."""
        root, *others = [selector.describe() for selector in self.selectors]
        hashes = ["#" + password for password in self.passwords]
        return " ".join([*self.flags(), *hashes, root, *[f"({other})" for other in others]])

    # -- checking ------------------------------------------------------------------------------------------------

    def judge(self, command: Command, argv: Argv) -> Verdict:
        """Whether the user may run this: (ALLOWED, 0), or why not and which argument is to blame."""
        worst = (COMMAND, 0)
        for selector in self.selectors:
            verdict = selector.judge(command, argv)
            if verdict[0] == ALLOWED:
                return verdict
            worst = max(worst, verdict)
        return worst

    def may_read(self, key: bytes) -> bool:
        return self.unrestricted or any(selector.allows_key(key, READ) for selector in self.selectors)

    def may_read_every_key(self, command: Command, argv: Argv) -> bool:
        """For commands that read keys which their arguments do not name (SORT … BY pattern)."""
        return self.unrestricted or any(
            selector.judge(command, argv)[0] == ALLOWED and selector.allows_every_key(READ)
            for selector in self.selectors
        )

    def may_listen(self, channel: bytes, is_pattern: bool) -> bool:
        return self.unrestricted or any(
            selector.allows_channel(channel, is_pattern) for selector in self.selectors
        )

    def has_category(self, category: str) -> bool:
        """Whether the user may run every command of a category."""
        return self.unrestricted or any(
            all(made.name in selector.commands for made in all_commands() if category in made.acl)
            for selector in self.selectors
        )


def _password(rule: bytes) -> str:
    """The hash that `>password`, `<password`, `#hash` or `!hash` means."""
    if rule[:1] in (b">", b"<"):
        return sha256(rule[1:]).hexdigest()
    text = _text(rule[1:])
    if not _HASH.match(text):
        raise RuleError(
            "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
        )
    return text


def merge_selectors(rules: list[bytes]) -> list[bytes]:
    """Joins the words of each selector that was given as several. Raises RuleError for one that never ends."""
    merged: list[bytes] = []
    pending: list[bytes] = []
    for rule in rules:
        if pending or (rule[:1] == b"(" and rule[-1:] != b")"):
            pending.append(rule)
            if len(pending) > 1 and rule[-1:] == b")":
                merged.append(b" ".join(pending))
                pending = []
        else:
            merged.append(rule)
    if pending:
        raise RuleError(f"Unmatched parenthesis in acl selector starting at '{_text(pending[0])}'.")
    return merged


def valid_name(name: bytes) -> bool:
    return not _BLANKS.search(name)
