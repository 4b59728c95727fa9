"""A Change as the JSON that leaves the house: three formats, single events and batches.

The documented receiver of Ferrite checks a signature over `JSON.stringify(JSON.parse(body))`, so every body here is a
fixed point of that: compact, strings escaped as JSON.stringify does (orjson agrees), numbers in ECMAScript's
spelling, and keys that look like array indexes first and ascending, as JavaScript keeps them. A number that
JavaScript could not hold exactly (an integer beyond 2^53-1), or JSON at all (inf), is a string.

Bytes that are not UTF-8 become base64, all strings of one `data` alike, and `data.encoding` says so.
Ids derive from journal positions: the same event has the same id on every retry and after every crash.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import isfinite
from time import gmtime
from typing import Any, Final

import orjson
from msgspec.structs import replace

from ferrite_hooks.webhooks.events import wide_name
from ferrite_hooks.webhooks.model import Change, Format, Webhook, Written

MAX_SAFE: Final = 2**53 - 1  # the largest integer that JavaScript holds exactly
MAX_VALUE_BYTES: Final = 65536  # default of webhooks.max_value_bytes
MAX_DEPTH: Final = 128  # nesting of an application event's data
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: sorts as the numbers do
_PAIRS: Final = [high + low for high in _ALPHABET for low in _ALPHABET]

# --- ids ----------------------------------------------------------------------------------------------------


def _base32(number: int, width: int) -> str:
    """`width` (even) digits."""
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(5 * (width - 2), -1, -10)])


@lru_cache(maxsize=1024)
def _alone(serial: int) -> str:
    return _base32(serial, 16)


@lru_cache(maxsize=256)
def _high_digits(number: int) -> str:
    return _base32(number, 10)


def _position(position: int) -> str:
    """The 14 digits of a journal position; the first ten of them hardly ever change."""
    return _high_digits(position >> 20) + _PAIRS[position >> 10 & 1023] + _PAIRS[position & 1023]


def event_id(journal_id: str, position: int) -> str:
    """The id of the event at a journal position. Ids of one data directory sort as their positions do;
    `journal_id` (drawn at random when the directory was made) keeps two directories apart."""
    return f"evt_{journal_id}{_position(position)}"


def delivery_id(journal_id: str, serial: int, positions: Sequence[int]) -> str:
    """The idempotency key of one request to the webhook `serial` that carries these positions: the same for
    every attempt, and after a restart that puts the same events together again."""
    return f"dlv_{journal_id}{_group(serial, positions)}"


def batch_id(journal_id: str, serial: int, positions: Sequence[int]) -> str:
    """The id of a batch of these positions: another grouping of the same events has another id."""
    return f"batch_{journal_id}{_group(serial, positions)}"


def _group(serial: int, positions: Sequence[int]) -> str:
    if len(positions) == 1:
        return _position(positions[0]) + _alone(serial)
    text = ",".join(map(str, (serial, *positions)))
    digest = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=10).digest(), "big")
    return _position(positions[0]) + _base32(digest, 16)


# --- JSON as JavaScript writes it ---------------------------------------------------------------------------


def number(value: int | float) -> bytes:
    """A number as JSON.stringify spells it; a string where JavaScript or JSON has no exact number for it."""
    if isinstance(value, int):
        return b"%d" % value if abs(value) <= MAX_SAFE else b'"%d"' % value
    if not isfinite(value):
        return b'"nan"' if value != value else b'"inf"' if value > 0 else b'"-inf"'
    if abs(value) < 1e21 and value == int(value):
        return number(int(value))
    # Python and ECMAScript both write the shortest digits that read back; they differ in the exponents.
    text = repr(value)
    mantissa, found, exponent = text.partition("e")
    if not found:
        return text.encode()
    power = int(exponent)
    if power >= 21:
        return f"{mantissa}e+{power}".encode()
    if power < -6:
        return f"{mantissa}e{power}".encode()
    sign, digits = ("-", mantissa[1:]) if mantissa[0] == "-" else ("", mantissa)
    return f"{sign}0.{'0' * (-power - 1)}{digits.replace('.', '')}".encode()


_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,9}")


def _as_index(key: str) -> int:
    """The array index that JavaScript takes `key` for, or 2^32-1 (which is none) for any other key."""
    return min(int(key), 2**32 - 1) if _INDEX.fullmatch(key) else 2**32 - 1


def _js_order(fields: dict[str, Any]) -> dict[str, Any]:
    if any("0" <= key[:1] <= "9" for key in fields):
        return dict(sorted(fields.items(), key=lambda item: _as_index(item[0])))  # stable: the rest stays
    return fields


_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


def _string(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except orjson.JSONEncodeError:  # "\ud800" in an application's JSON: JSON.stringify keeps the escape
        escaped = json.dumps(text, ensure_ascii=False)
        return _SURROGATE.sub(lambda m: f"\\u{ord(m[0]):04x}", escaped).encode()


def _write(value: Any, depth: int) -> bytes:
    if depth > MAX_DEPTH:
        raise ValueError(f"JSON nested deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        return _string(value)
    if value is None or isinstance(value, bool):
        return b"null" if value is None else b"true" if value else b"false"
    if isinstance(value, dict):
        members = (_string(k) + b":" + _write(v, depth + 1) for k, v in _js_order(value).items())
        return b"{%b}" % b",".join(members)
    if isinstance(value, list):
        return b"[%b]" % b",".join([_write(item, depth + 1) for item in value])
    return number(value)


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"JSON number out of range: {text[:40]}")
    return value


def _integer(text: str) -> int:
    if len(text) > 1000:  # int() takes quadratic time, and refuses beyond 4300 digits
        raise ValueError("JSON number of more than 1000 digits")
    return int(text)


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def canonical_json(raw: bytes) -> bytes:
    """JSON text, rewritten so that JavaScript's parse and stringify leave it as it is.

    What WEBHOOK.EMIT keeps of DATA. Raises ValueError when `raw` is not JSON in UTF-8, is nested deeper than
    MAX_DEPTH, or has a number that no double can hold.
    """
    try:
        value = json.loads(
            raw.decode(), parse_float=_finite, parse_int=_integer, parse_constant=_no_constant
        )
    except RecursionError:
        raise ValueError(f"JSON nested deeper than {MAX_DEPTH}") from None
    return _write(value, 1)


# --- the parts of an event ----------------------------------------------------------------------------------

Text = Callable[[bytes], str]


def _utf8(raw: bytes) -> str:
    return raw.decode()


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")


def _pairs(items: Sequence[Any], text: Text) -> dict[str, Any]:
    values = iter(items)
    return _js_order({text(f): None if v is None else text(v) for f, v in zip(values, values, strict=True)})


def _scores(items: Sequence[Any], text: Text) -> dict[str, Any]:
    values = iter(items)
    pairs = zip(values, values, strict=True)
    return _js_order({text(m): None if s is None else orjson.Fragment(number(s)) for m, s in pairs})


def _elements(items: Sequence[Any], text: Text) -> list[Any]:
    return [None if e is None else text(e) for e in items]


def _entry(items: Sequence[Any], text: Text) -> dict[str, Any]:
    """One stream entry. A field may occur twice in it; then its values are an array, in their order."""
    fields: dict[str, Any] = {}
    values = iter(items[1:])
    for raw, value in zip(values, values, strict=True):
        name, content = text(raw), text(value)
        if name not in fields:
            fields[name] = content
        elif isinstance(fields[name], list):
            fields[name].append(content)
        else:
            fields[name] = [fields[name], content]
    return {"id": text(items[0]), "fields": _js_order(fields)}


_SHAPES: dict[str, Callable[[Sequence[Any], Text], Any]] = {
    "hash": _pairs, "zset": _scores, "list": _elements, "set": _elements, "stream": _entry,
}  # fmt: skip


def _shape(written: Written, text: Text) -> Any:
    """The JSON value of what was written, or stood there before."""
    if written is None:
        return None
    if isinstance(written, bytes):
        return text(written)
    kind: str = written[0]
    content: Any = written[1]
    if kind == "stub":
        return {"type": content, "length": written[2]}
    if kind == "key":
        return text(content)
    if kind == "json":
        return orjson.Fragment(canonical_json(content))
    return _SHAPES[kind](content, text)


def _size(written: Written) -> int:
    """How many bytes of content there are; scores and stubs count nothing."""
    if written is None:
        return 0
    if isinstance(written, bytes):
        return len(written)
    if written[0] == "stub":
        return 0
    if written[0] == "bulk":
        size: int = written[1]
        return size
    content: Any = written[1]
    if isinstance(content, bytes):
        return len(content)
    return sum(len(item) for item in content if isinstance(item, bytes))


def _too_long(written: Written, size: int, max_value_bytes: int) -> bool:
    return size > max_value_bytes or (isinstance(written, tuple) and written[0] == "bulk")


def without_bulk(change: Change, max_value_bytes: int) -> Change:
    """The change as it is kept while it waits: without a value that is too long for a payload."""
    new, old = change.new, change.old
    new_size = len(new) if type(new) is bytes else _size(new)
    old_size = len(old) if type(old) is bytes else _size(old)
    if new_size <= max_value_bytes >= old_size:
        return change
    return replace(
        change,
        new=("bulk", new_size) if new_size > max_value_bytes else new,
        old=("bulk", old_size) if old_size > max_value_bytes else old,
    )


def _data(change: Change, old_value: bool, max_value_bytes: int) -> dict[str, Any]:
    new, old = change.new, change.old if old_value else None
    if type(new) is bytes and len(new) <= max_value_bytes:
        if old is None or (type(old) is bytes and len(old) <= max_value_bytes):
            try:
                return _text(change, new, old, old_value)
            except UnicodeDecodeError:
                pass
    size, old_size = _size(new), _size(old)
    truncated, old_truncated = _too_long(new, size, max_value_bytes), _too_long(old, old_size, max_value_bytes)
    if truncated:
        new = None
    if old_truncated:
        old = None
    encoding = None
    try:
        value, before = _shape(new, _utf8), _shape(old, _utf8)
    except UnicodeDecodeError:
        encoding = "base64"
        value, before = _shape(new, _base64), _shape(old, _base64)
    renamed = isinstance(change.new, tuple) and change.new[0] == "key"
    data: dict[str, Any] = {"value": None if renamed else value}
    if truncated:
        data["truncated"] = True
        data["size"] = size
    if old_value:
        data["old_value"] = before
    if old_truncated:
        data["old_truncated"] = True
        data["old_size"] = old_size
    data["ttl"] = _ttl(change)
    if renamed:
        data["new_key"] = value
    if encoding:
        data["encoding"] = encoding
    return data


def _text(change: Change, new: bytes, old: bytes | None, old_value: bool) -> dict[str, Any]:
    """What most changes are: a string that is written in whole. Raises UnicodeDecodeError."""
    if old_value:
        return {"value": new.decode(), "old_value": None if old is None else old.decode(), "ttl": _ttl(change)}
    return {"value": new.decode(), "ttl": _ttl(change)}


def _ttl(change: Change) -> int | None:
    """In seconds, rounded as TTL does."""
    return max(0, (change.expire_at - change.at + 500) // 1000) if change.expire_at else None


def _key(change: Change, max_value_bytes: int) -> tuple[str | None, str]:
    """The key and its encoding: "" (as it is), "base64", or "omitted" when larger than a value may be."""
    key = change.key
    if key is None:
        return None, ""
    if len(key) > max_value_bytes:
        return None, "omitted"
    try:
        return key.decode(), ""
    except UnicodeDecodeError:
        return _base64(key), "base64"


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    t = gmtime(seconds)
    return f"{t[0]:04d}-{t[1]:02d}-{t[2]:02d}T{t[3]:02d}:{t[4]:02d}:{t[5]:02d}"


_MILLISECONDS: Final = [f".{ms:03d}Z" for ms in range(1000)]


def timestamp(ms: int) -> str:
    """Unix milliseconds as 2026-01-15T10:30:00.123Z."""
    return _second(ms // 1000) + _MILLISECONDS[ms % 1000]


def _is_application(change: Change) -> bool:
    return "." in change.event


# --- the three formats --------------------------------------------------------------------------------------

# Each gives one event as a dict in the body's order: (webhook, change, id, coalesced, max_value_bytes).
Builder = Callable[[Webhook, Change, str, int, int], dict[str, Any]]


def _ferrite(webhook: Webhook, change: Change, id: str, coalesced: int, limit: int) -> dict[str, Any]:
    key, encoding = _key(change, limit)
    body: dict[str, Any] = {
        "id": id,
        "timestamp": timestamp(change.at),
        "event": wide_name(change.event),
        "key": key,
    }
    if encoding:
        body["key_encoding"] = encoding
    body["database"] = change.db
    body["data"] = _data(change, webhook.old_value and not _is_application(change), limit)
    metadata = {
        "client_id": f"conn:{change.client}" if change.client else None,
        "source_ip": change.ip or None,
        "command": change.command or None,
        "notification": change.event,
        "sequence": change.position,
        "webhook": webhook.name,
    }
    if change.transaction:
        metadata["transaction"] = change.transaction
    if coalesced:
        metadata["coalesced"] = coalesced
    if change.resource:
        metadata["resource_id"] = change.resource
    body["metadata"] = metadata
    return body


def _plain_data(webhook: Webhook, change: Change, limit: int) -> dict[str, Any]:
    """`data` where it stands alone: an application's is the application's own, as it gave it."""
    if not _is_application(change):
        return {"data": _data(change, webhook.old_value, limit)}
    size = _size(change.new)
    if _too_long(change.new, size, limit):
        return {"data": None, "truncated": True, "size": size}
    return {"data": _shape(change.new, _utf8)}


def _standard(webhook: Webhook, change: Change, id: str, coalesced: int, limit: int) -> dict[str, Any]:
    """FerrisKey's four fields; what happened to a key has the key as its resource."""
    key, encoding = ("", "") if change.resource else _key(change, limit)
    body: dict[str, Any] = {
        "event": wide_name(change.event),
        "timestamp": timestamp(change.at),
        "resource_id": change.resource or key,
    }
    if encoding:
        body["resource_id_encoding"] = encoding
    return body | _plain_data(webhook, change, limit)


def _with_id(webhook: Webhook, change: Change, id: str, coalesced: int, limit: int) -> dict[str, Any]:
    """As alone, with the id in front: a batch has one webhook-id header for many events."""
    return {"id": id, **_standard(webhook, change, id, coalesced, limit)}


def _cloudevent(webhook: Webhook, change: Change, id: str, coalesced: int, limit: int) -> dict[str, Any]:
    """CloudEvents 1.0 in JSON. The key is the subject; what ferrite's metadata says are extensions."""
    subject, encoding = (change.resource, "") if change.resource else _key(change, limit)
    name = wide_name(change.event)
    body: dict[str, Any] = {
        "specversion": "1.0",
        "id": id,
        "source": f"/ferrite-hooks/{id[4:-14]}/{change.db}",  # the part of the id that names the journal
        "type": name if _is_application(change) else f"ferrite.{name.lower()}",
        "time": timestamp(change.at),
        "datacontenttype": "application/json",
    }
    if subject:  # an empty one is against the specification
        body["subject"] = subject
    if encoding:
        body["subjectencoding"] = encoding
    body["sequence"] = f"{change.position:020d}"  # the Sequence extension: strings that sort
    body["database"] = change.db
    body["notification"] = change.event
    if change.command:
        body["command"] = change.command
    body["webhook"] = webhook.name
    if change.transaction:
        body["transaction"] = str(change.transaction)  # CloudEvents integers have 32 bits
    if coalesced:
        body["coalesced"] = coalesced
    return body | _plain_data(webhook, change, limit)


FORMATS: dict[Format, Builder] = {
    Format.FERRITE: _ferrite,
    Format.STANDARD: _standard,
    Format.CLOUDEVENTS: _cloudevent,
}

_IN_BATCH: dict[Format, Builder] = {**FORMATS, Format.STANDARD: _with_id}

_CONTENT_TYPES: Final = {
    (Format.CLOUDEVENTS, False): "application/cloudevents+json",
    (Format.CLOUDEVENTS, True): "application/cloudevents-batch+json",
}


def content_type(format: Format, batch: bool) -> str:
    """The Content-Type of a body that render_event (or, for `batch`, render_batch) made."""
    return _CONTENT_TYPES.get((format, batch), "application/json")


def render_event(
    webhook: Webhook,
    change: Change,
    journal_id: str,
    *,
    coalesced: int = 0,
    max_value_bytes: int = MAX_VALUE_BYTES,
) -> bytes:
    """The body that tells `webhook` of one change. `coalesced`: how many earlier changes it stands for."""
    build = FORMATS[webhook.format]
    id = event_id(journal_id, change.position)
    return orjson.dumps(build(webhook, change, id, coalesced, max_value_bytes))


def render_batch(
    webhook: Webhook,
    changes: Iterable[tuple[Change, int]],
    journal_id: str,
    batch_id: str,
    now_ms: int,
    *,
    max_value_bytes: int = MAX_VALUE_BYTES,
) -> bytes:
    """The body that tells `webhook` of several changes: pairs of a Change and its `coalesced` count."""
    build = _IN_BATCH[webhook.format]
    events = []
    for change, coalesced in changes:
        id = event_id(journal_id, change.position)
        events.append(orjson.dumps(build(webhook, change, id, coalesced, max_value_bytes)))
    joined = b",".join(events)
    if webhook.format is Format.CLOUDEVENTS:
        return b"[%b]" % joined
    head = orjson.dumps({"batch_id": batch_id, "timestamp": timestamp(now_ms)})
    return b'%b,"events":[%b],"count":%d}' % (head[:-1], joined, len(events))
