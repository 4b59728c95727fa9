"""Client-side caching: who has read which key, and who is told when it changes.

In the ordinary mode the server remembers the keys that a client reads and tells it once; in BCAST mode it
remembers nothing and tells of every change under the client's prefixes, collected over one command. While no
client tracks there is no table (`Engine.tracking` is None) and nothing here is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ferrite_hooks.errors import ReplyError, printable
from ferrite_hooks.resp.reply import Push, Reply

if TYPE_CHECKING:
    from ferrite_hooks.engine.command import Argv, Command
    from ferrite_hooks.engine.engine import Engine
    from ferrite_hooks.engine.session import Session

_CHANNEL = b"__redis__:invalidate"


@dataclass(slots=True)
class Options:
    """One client's CLIENT TRACKING."""

    redirect: int = 0  # client id, 0 = to the client itself
    broadcast: bool = False
    optin: bool = False
    optout: bool = False
    noloop: bool = False
    prefixes: tuple[bytes, ...] = ()
    caching: bool = False  # CLIENT CACHING was called for the next command
    broken: bool = False  # the client that messages are redirected to has left


class Tracking:
    __slots__ = ("_changed", "_engine", "_prefixes", "_readers", "clients")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.clients: dict[Session, Options] = {}
        self._readers: dict[bytes, set[int]] = {}  # key -> ids of clients that may hold it; some may have left
        self._prefixes: dict[bytes, dict[Session, None]] = {}  # BCAST
        self._changed: dict[bytes, dict[bytes, Session | None]] = {}  # prefix -> key -> who changed it last

    @property
    def totals(self) -> tuple[int, int, int]:
        """Keys remembered, (key, client) pairs, prefixes: for INFO."""
        return len(self._readers), sum(map(len, self._readers.values())), len(self._prefixes)

    # -- who tracks ----------------------------------------------------------------------------------------------

    def forget(self, s: Session) -> None:
        """Ends a client's tracking."""
        options = self.clients.pop(s, None)
        if options is None:
            return
        for prefix in options.prefixes:
            followers = self._prefixes[prefix]
            del followers[s]
            if not followers:
                del self._prefixes[prefix]
                self._changed.pop(prefix, None)
        s.tracking = None
        if not self.clients:
            self._engine.tracking = None
            self._engine.observe_all()
            self._engine.refresh()

    def add(self, s: Session, options: Options) -> None:
        self.clients[s] = s.tracking = options
        for prefix in options.prefixes:
            self._prefixes.setdefault(prefix, {})[s] = None

    # -- what they read ------------------------------------------------------------------------------------------

    def ran(self, s: Session, command: Command, argv: Argv) -> None:
        """A command has run: remembers the keys that it read, if its client wants that."""
        self._remember(s, command, argv)
        limit = self._engine.settings["tracking-table-max-keys"]
        while limit and len(self._readers) > limit:
            self._tell(next(iter(self._readers)), None)  # the oldest: as if it had changed

    def _remember(self, s: Session, command: Command, argv: Argv) -> None:
        options = s.tracking
        if options is None:
            return
        caching = options.caching
        if command.parent != "client" and s.queue is None and not s.deny_blocking:
            options.caching = False  # it was for this command, or for the transaction that this one has ended
        if options.broadcast or "readonly" not in command.flags or command.group == "scripting":
            return
        if caching if options.optout else options.optin and not caching:
            return
        try:
            positions = command.key_positions(argv)
        except ReplyError:
            return
        for at, _ in positions:
            self._readers.setdefault(argv[at], set()).add(s.id)

    # -- what changed --------------------------------------------------------------------------------------------

    def invalidate(self, key: bytes) -> None:
        """A key has changed."""
        engine = self._engine
        for prefix in self._prefixes:
            if key.startswith(prefix):
                self._changed.setdefault(prefix, {})[key] = self._causer()
                engine.unsettled = True
        if key in self._readers:
            self._tell(key, self._causer())

    def flushed(self) -> None:
        """Whole databases were emptied: everyone drops everything."""
        self._readers.clear()
        for s in self.clients:
            self._send(s, None)

    def broadcast(self, running: Session | None) -> None:
        """Tells the clients in BCAST mode what changed during one command; `running` waits for its reply."""
        changed, self._changed = self._changed, {}
        for prefix, keys in changed.items():
            everything: Reply = list(keys)
            for s in list(self._prefixes.get(prefix, ())):
                mine = self.clients[s].noloop and s in keys.values()
                told = [key for key, causer in keys.items() if causer is not s] if mine else everything
                if told:
                    self._send(s, told, running)

    def _causer(self) -> Session | None:
        engine = self._engine
        return engine.session if engine.command is not None and not engine.uncaused else None

    def _tell(self, key: bytes, causer: Session | None) -> None:
        for number in self._readers.pop(key):
            s = self._engine.sessions.get(number)
            if s is None or s.tracking is None or s.tracking.broadcast or (s.tracking.noloop and s is causer):
                continue
            self._send(s, [key])

    def _send(self, s: Session, keys: Reply, running: Session | None = None) -> None:
        options, target = self.clients[s], s
        if options.redirect:
            found = self._engine.sessions.get(options.redirect)
            if found is None:
                options.broken = True
                if s.resp == 3:
                    _push(s, Push([b"tracking-redir-broken", options.redirect]), running)
                return
            target = found
        if target.resp == 3:
            _push(target, Push([b"invalidate", keys]), running)
        elif options.redirect and target.subscribed:
            _push(target, Push([b"message", _CHANNEL, keys]), running)


def _push(s: Session, message: Push, running: Session | None) -> None:
    if s is running:
        s.late.append(message)
    else:
        s.push(message)


def enable(s: Session, asked: Options) -> None:
    """CLIENT TRACKING ON. Raises ReplyError when the options contradict each other or those in force."""
    engine, current = s.engine, s.tracking
    if asked.prefixes and not asked.broadcast:
        raise ReplyError("ERR PREFIX option requires BCAST mode to be enabled")
    if current is not None and current.broadcast != asked.broadcast:
        raise ReplyError(_SWITCH % "BCAST mode on/off")
    if asked.broadcast and (asked.optin or asked.optout):
        raise ReplyError("ERR OPTIN and OPTOUT are not compatible with BCAST")
    if asked.optin and asked.optout:
        raise ReplyError("ERR You can't specify both OPTIN mode and OPTOUT mode")
    if current is not None and ((asked.optin and current.optout) or (asked.optout and current.optin)):
        raise ReplyError(_SWITCH % "OPTIN/OPTOUT mode")
    if asked.broadcast:
        before = current.prefixes if current is not None else ()
        _check_prefixes(before, asked.prefixes)
        asked.prefixes = tuple(sorted(dict.fromkeys((*before, *(asked.prefixes or (b"",))))))
    if engine.tracking is None:
        engine.tracking = Tracking(engine)
        engine.observe_all()
        engine.refresh()
    engine.tracking.add(s, asked)


_SWITCH = (
    "ERR You can't switch %s before disabling tracking for this client, and then re-enabling it with a different mode."
)


def _check_prefixes(before: tuple[bytes, ...], asked: tuple[bytes, ...]) -> None:
    for number, prefix in enumerate(asked):
        others = [(p, "an existing") for p in before] + [(p, "another provided") for p in asked[number + 1 :]]
        for other, what in others:
            if prefix.startswith(other) or other.startswith(prefix):
                raise ReplyError(
                    f"ERR Prefix '{printable(prefix)}' overlaps with {what} prefix '{printable(other)}'. "
                    "Prefixes for a single client must not overlap."
                )
