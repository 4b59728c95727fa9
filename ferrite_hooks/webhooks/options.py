"""The options of WEBHOOK.CREATE and WEBHOOK.UPDATE: words in, a new definition out.

Each option is a row of a table: its keyword and the function that reads its words and names the fields that
change. Keywords come in any case and any order; only PATTERN, HEADER and WHEN repeat. Whatever is unknown,
doubled or malformed raises a Refusal that names the option, and since the result is a new value, nothing has
changed then. EVENTS and DB read words up to the next keyword.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from ssl import SSLError
from typing import Any, NamedTuple, TypeVar

from ferrite_hooks.webhooks import asymmetric
from ferrite_hooks.webhooks.conditions import check_condition
from ferrite_hooks.webhooks.events import parse_events
from ferrite_hooks.webhooks.model import Backoff, Format, Overflow, Tls, Webhook
from ferrite_hooks.webhooks.sign import AUTH, authorization, check_header, check_secret, generate_secret

DAY_MS = 86_400_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
E = TypeVar("E", bound=Enum)


class Refusal(ValueError):
    """What was asked for cannot be; the message is for the client and holds no secret."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the configuration allows one definition."""

    databases: int = 16
    max_batch_size: int = 1000
    max_pending: int = 10_000
    max_timeout_ms: int = 120_000
    max_retries: int = 100
    max_concurrency: int = 256
    max_patterns: int = 100
    max_headers: int = 50
    check_url: Callable[[str], object] = lambda url: None  # raises ValueError for a URL that is not allowed
    check_tls: Callable[[Tls], object] = lambda tls: None  # raises OSError for files that cannot be used


class Parsed(NamedTuple):
    """A definition, and what SECRET GENERATE made ("" = nothing), to be shown this one time."""

    webhook: Webhook
    generated: str


def check_name(raw: bytes) -> str:
    """A webhook's name. Raises Refusal."""
    name = raw.decode("utf-8", "replace")
    if not _NAME.fullmatch(name):
        raise Refusal("bad webhook name: expected up to 128 of A-Z a-z 0-9 _ . : - (a letter or digit first)")
    return name


def parse(
    tokens: list[bytes], base: Webhook, limits: Limits, *, updating: bool = False, admin: bool = True
) -> Parsed:
    """`base` with the options in `tokens` applied. `updating` allows URL and refuses to change nothing; only an
    `admin` may change how TLS is done, for that names files of the server's machine.

    Raises Refusal.
    """
    words = _Words(tokens)
    if updating and not tokens:
        raise Refusal("nothing to update: name at least one option")
    known = OPTIONS if updating else OPTIONS.keys() - {"URL"}
    fields: dict[str, Any] = {}
    seen: set[str] = set()
    while words.left:
        keyword = words.text("an option").upper()
        if keyword not in known:
            choices = " ".join(option for option in OPTIONS if option in known)
            raise Refusal(f"unknown option '{shown(keyword)}'; known are {choices}")
        if keyword in seen and keyword not in REPEATABLE:
            raise Refusal(f"option {keyword} is given twice")
        if keyword in TLS and not admin:
            raise Refusal(f"option {keyword} is for administrators (@admin)")
        words.option = keyword
        OPTIONS[keyword](words, fields, base, limits, keyword not in seen)
        seen.add(keyword)
    generated = fields.pop("_generated", "")
    changed = replace(base, **fields)
    if seen & TLS:
        _check_tls(changed, limits)
    return Parsed(changed, generated)


class _Words:
    """The tokens not yet read, and the option they are read for."""

    __slots__ = ("_at", "_tokens", "option")

    def __init__(self, tokens: list[bytes]) -> None:
        self._tokens = tokens
        self._at = 0
        self.option = ""

    @property
    def left(self) -> int:
        return len(self._tokens) - self._at

    def raw(self, what: str) -> bytes:
        if not self.left:
            raise Refusal(f"{self.option} needs {what}")
        self._at += 1
        return self._tokens[self._at - 1]

    def text(self, what: str) -> str:
        try:
            return self.raw(what).decode()
        except UnicodeDecodeError:
            raise Refusal(f"{self.option or 'options'}: {what} has to be UTF-8") from None

    def up_to_keyword(self, what: str) -> list[str]:
        """At least one word, then all that are no option's keyword."""
        found = [self.text(what)]
        while self.left and self._tokens[self._at].decode("utf-8", "replace").upper() not in OPTIONS:
            found.append(self.text(what))
        return found

    def refuse(self, expected: str, got: str) -> Refusal:
        return Refusal(f"{self.option}: expected {expected}, got '{shown(got)}'")


def shown(text: str) -> str:
    """A client's text for an error: cut, and in printable ASCII."""
    return ascii(text[:64])[1:-1]


# (words, fields to change, definition before, limits, whether this is the option's first occurrence)
_Reader = Callable[[_Words, dict[str, Any], Webhook, Limits, bool], None]


def _integer(field: str, low: int, high: int | str, unit: str = "") -> _Reader:
    """An option that takes a whole number; `high` may name the limit that holds."""

    def read(words: _Words, fields: dict[str, Any], base: Webhook, limits: Limits, first: bool) -> None:
        top: int = getattr(limits, high) if isinstance(high, str) else high
        expected = f"a whole number{unit} from {low} to {top}"
        word = words.text(expected)
        if not re.fullmatch(r"\d{1,15}", word, re.ASCII) or not low <= int(word) <= top:
            raise words.refuse(expected, word)
        fields[field] = int(word)

    return read


def _boolean(field: str) -> _Reader:
    def read(words: _Words, fields: dict[str, Any], base: Webhook, limits: Limits, first: bool) -> None:
        word = words.text("true or false")
        if word.lower() not in ("true", "false"):
            raise words.refuse("true or false", word)
        fields[field] = word.lower() == "true"

    return read


def _choice(field: str, choices: type[E]) -> _Reader:
    expected = " | ".join(str(choice.value) for choice in choices)

    def read(words: _Words, fields: dict[str, Any], base: Webhook, limits: Limits, first: bool) -> None:
        word = words.text(expected)
        try:
            fields[field] = choices(word.lower())
        except ValueError:
            raise words.refuse(expected, word) from None

    return read


def _url(words: _Words, fields: dict[str, Any], base: Webhook, limits: Limits, first: bool) -> None:
    fields["url"] = check_url(words.text("a URL"), limits)


def check_url(url: str, limits: Limits) -> str:
    """`url`, if the configuration allows it. Raises Refusal."""
    try:
        limits.check_url(url)
    except ValueError as refused:
        raise Refusal(str(refused)) from None
    return url


def _pattern(words: _Words, fields: dict[str, Any], base: Webhook, limits: Limits, first: bool) -> None:
    """The patterns given replace the ones before; `*` is every key."""
    pattern = words.raw("a glob")
    if not pattern or len(pattern) > 1024:
        raise Refusal("PATTERN: expected a glob of 1 to 1024 bytes")
    patterns = (*(() if first else fields["patterns"]), pattern)
    if len(patterns) > limits.max_patterns:
        raise Refusal(f"PATTERN: at most {limits.max_patterns} patterns")
    fields["patterns"] = patterns


def _events(words: _Words, fields: dict[str, Any], base: Webhook, limits: Limits, first: bool) -> None:
    try:
        fields["events"] = parse_events(words.up_to_keyword("at least one event"))
    except Refusal:
        raise
    except ValueError as unknown:
        raise Refusal(f"EVENTS: {unknown}") from None
    if len(fields["events"]) > 200:
        raise Refusal("EVENTS: at most 200 events")


def _db(words: _Words, fields: dict[str, Any], base: Webhook, limits: Limits, first: bool) -> None:
    expected = f"database numbers from 0 to {limits.databases - 1}, or *"
    numbers = words.up_to_keyword(expected)
    if numbers == ["*"]:
        fields["databases"] = ()
        return
    for word in numbers:
        if not re.fullmatch(r"\d{1,6}", word, re.ASCII) or int(word) >= limits.databases:
            raise words.refuse(expected, word)
    fields["databases"] = tuple(sorted({int(word) for word in numbers}))


def read_secret(word: str) -> tuple[str, str]:
    """The secret that `SECRET word` means ("" = unsigned), and what to show this one time if it was made just now:
    the secret, or the public key of an asymmetric one. Raises Refusal.
    """
    if word.upper() == "GENERATE":
        made = generate_secret()
        return made, made
    try:
        if word.upper() == "GENERATE_V1A":
            private = asymmetric.generate_key()
            return private, asymmetric.public_key(private)
        if word:
            check_secret(word)
    except ValueError as refused:
        raise Refusal(f"SECRET: {refused}") from None
    return word, ""


def _secret(words: _Words, fields: dict[str, Any], base: Webhook, limits: Limits, first: bool) -> None:
    fields["secret"], fields["_generated"] = read_secret(words.text("a secret, GENERATE or GENERATE_V1A"))
    fields["old_secret"], fields["old_secret_until"] = "", 0


def _auth(words: _Words, fields: dict[str, Any], base: Webhook, limits: Limits, first: bool) -> None:
    kind = words.text("bearer token | basic user:pass | none").lower()
    if kind == "none":
        fields["auth"] = ""
        return
    if kind not in AUTH:
        raise Refusal("AUTH: expected bearer token | basic user:pass | none")  # it may be a token: not shown
    try:
        fields["auth"] = authorization(kind, words.text("credentials"))
    except Refusal:
        raise
    except ValueError as refused:
        raise Refusal(f"AUTH: {refused}") from None


def _header(words: _Words, fields: dict[str, Any], base: Webhook, limits: Limits, first: bool) -> None:
    """Adds or replaces one header of those before; an empty value removes it."""
    name, value = words.text("a name and a value"), words.text("a value")
    kept = [h for h in fields.get("headers", base.headers) if h[0].lower() != name.lower()]
    try:
        check_header(name, value)
    except ValueError as refused:
        raise Refusal(f"HEADER: {refused}") from None
    if value:
        kept.append((name, value))
    if len(kept) > limits.max_headers:
        raise Refusal(f"HEADER: at most {limits.max_headers} headers")
    fields["headers"] = tuple(kept)


def _file(field: str) -> _Reader:
    def read(words: _Words, fields: dict[str, Any], base: Webhook, limits: Limits, first: bool) -> None:
        path = words.text("a file's path, or none")
        if len(path) > 4096 or not path.isprintable():
            raise words.refuse("a file's path, or none", path)
        fields[field] = "" if path.lower() == "none" else path

    return read


def _verify(words: _Words, fields: dict[str, Any], base: Webhook, limits: Limits, first: bool) -> None:
    expected = "true, false or default"
    word = words.text(expected)
    if word.lower() not in _VERIFY:
        raise words.refuse(expected, word)
    fields["verify_ssl"] = _VERIFY[word.lower()]


_VERIFY = {"true": True, "false": False, "default": None}


def _check_tls(webhook: Webhook, limits: Limits) -> None:
    if webhook.client_key_file and not webhook.client_cert_file:
        raise Refusal("CLIENT_KEY: needs CLIENT_CERT")
    try:
        limits.check_tls(Tls(True, webhook.ca_file, webhook.client_cert_file, webhook.client_key_file))
    except (OSError, ValueError) as broken:
        reason = broken.strerror if isinstance(broken, OSError) and not isinstance(broken, SSLError) else "no such PEM"
        raise Refusal(f"the TLS files cannot be used: {reason}") from None


def _rate(words: _Words, fields: dict[str, Any], base: Webhook, limits: Limits, first: bool) -> None:
    expected = "requests per second from 0.001 to 1000000, or 0 for no limit"
    word = words.text(expected)
    try:
        rate = float(word)
    except ValueError:
        rate = math.nan
    if not (rate == 0 or 0.001 <= rate <= 1_000_000):
        raise words.refuse(expected, word)
    fields["rate_limit"] = rate


def _when(words: _Words, fields: dict[str, Any], base: Webhook, limits: Limits, first: bool) -> None:
    """The clauses given replace the ones before; `WHEN none` leaves no condition."""
    path = words.text("path op value, or none")
    if path.lower() == "none":
        fields["when"] = ()
        return
    op, value = words.text("an operator and a value"), words.text("a value")
    if len(path) + len(value) > 2048:
        raise Refusal("WHEN: at most 2048 characters")
    try:
        condition = check_condition(path, op, value)
    except ValueError as refused:
        raise Refusal(f"WHEN: {refused}") from None
    fields["when"] = (*(() if first else fields["when"]), condition)
    if len(fields["when"]) > 32:
        raise Refusal("WHEN: at most 32 conditions")


def _description(words: _Words, fields: dict[str, Any], base: Webhook, limits: Limits, first: bool) -> None:
    text = words.text("a text")
    if len(text) > 1024:
        raise Refusal("DESCRIPTION: at most 1024 characters")
    fields["description"] = text


def _disabled(words: _Words, fields: dict[str, Any], base: Webhook, limits: Limits, first: bool) -> None:
    fields["enabled"], fields["disabled_reason"] = False, "by command"


TLS = frozenset({"VERIFY_SSL", "CA_FILE", "CLIENT_CERT", "CLIENT_KEY"})
REPEATABLE = frozenset({"PATTERN", "HEADER", "WHEN"})
OPTIONS: dict[str, _Reader] = {
    "URL": _url,
    "PATTERN": _pattern,
    "EVENTS": _events,
    "DB": _db,
    "SECRET": _secret,
    "AUTH": _auth,
    "HEADER": _header,
    "RETRIES": _integer("max_retries", 0, "max_retries"),
    "RETRY_DELAY": _integer("retry_delay_ms", 1, DAY_MS, " of milliseconds"),
    "RETRY_BACKOFF": _choice("backoff", Backoff),
    "MAX_RETRY_DELAY": _integer("max_retry_delay_ms", 1, DAY_MS, " of milliseconds"),
    "TIMEOUT": _integer("timeout_ms", 1, "max_timeout_ms", " of milliseconds"),
    "BATCH": _boolean("batch"),
    "BATCH_SIZE": _integer("batch_size", 1, "max_batch_size"),
    "BATCH_INTERVAL": _integer("batch_interval_ms", 1, 3_600_000, " of milliseconds"),
    "RATE_LIMIT": _rate,
    "CONCURRENCY": _integer("concurrency", 1, "max_concurrency"),
    "FORMAT": _choice("format", Format),
    "OLD_VALUE": _boolean("old_value"),
    "COALESCE": _boolean("coalesce"),
    "WHEN": _when,
    "MAX_PENDING": _integer("max_pending", 1, "max_pending"),
    "OVERFLOW": _choice("overflow", Overflow),
    "VERIFY_SSL": _verify,
    "CA_FILE": _file("ca_file"),
    "CLIENT_CERT": _file("client_cert_file"),
    "CLIENT_KEY": _file("client_key_file"),
    "DESCRIPTION": _description,
    "DISABLED": _disabled,
}
