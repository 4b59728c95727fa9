"""The headers of a request, its signatures, and the receiver's check of them.

Two schemes sign every body: X-Ferrite-Signature (hex HMAC over the body, keyed with the secret's text) and
Standard Webhooks (base64 HMAC over id, time and body, keyed with the decoded `whsec_` secret). A `whsk_` private key
signs in the latter only, as `v1a` (asymmetric.py): nobody but its holder could check an HMAC. While a secret
is being rotated both secrets sign: Standard Webhooks has room for two signatures in its header; for the other
scheme the old secret signs in X-Ferrite-Signature-Old, as its header is compared whole.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from functools import lru_cache
from urllib.parse import quote

from ferrite_hooks.version import __version__
from ferrite_hooks.webhooks import asymmetric
from ferrite_hooks.webhooks.model import Format, Webhook
from ferrite_hooks.webhooks.payload import content_type

BATCH = "batch"  # X-Ferrite-Event of a batch
_PLAIN = " !#$&'()*+,/:;<=>?@[]^`{|}"  # stands for itself in X-Ferrite-Webhook; other signs are %-encoded
USER_AGENT = f"ferrite-hooks/{__version__}"

Headers = tuple[tuple[str, str], ...]
_Hashes = tuple["hashlib._Hash", "hashlib._Hash"]


class SignatureError(ValueError):
    """A request that the holder of the secret did not sign, or signed too long ago."""


# --- secrets ------------------------------------------------------------------------------------------------

_PREFIX = "whsec_"
MAX_SECRET = 512  # characters
MAX_SIGNATURES = 16  # of one header that are looked at


def generate_secret() -> str:
    """A new random secret, as Standard Webhooks writes them: whsec_ and 32 bytes in base64."""
    return _PREFIX + b64encode(secrets.token_bytes(32)).decode()


def check_secret(secret: str) -> None:
    """Raises ValueError (which does not show it) for a secret that receivers could not use."""
    if not secret or len(secret) > MAX_SECRET:
        raise ValueError(f"a secret has 1 to {MAX_SECRET} characters")
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in secret):
        raise ValueError("a secret has no control characters")
    if secret.startswith(asymmetric.PUBLIC):
        raise ValueError("a whpk_ key can only verify; the secret is its whsk_ key")
    if asymmetric.is_private(secret):
        asymmetric.check_key(secret)
    if secret.startswith(_PREFIX):
        try:
            key = b64decode(secret[len(_PREFIX) :], validate=True)
        except binascii.Error:
            key = b""
        if not key:
            raise ValueError("what follows whsec_ in a secret must be base64")


def _standard_key(secret: str) -> bytes:
    """The decoded base64 of a whsec_ secret; any other secret's own bytes."""
    if secret.startswith(_PREFIX):
        try:
            return b64decode(secret[len(_PREFIX) :], validate=True) or secret.encode()
        except binascii.Error:
            pass
    return secret.encode()


def _hashes(key: bytes) -> _Hashes:
    key = hashlib.sha256(key).digest() if len(key) > 64 else key
    padded = key.ljust(64, b"\0")
    return hashlib.sha256(bytes(b ^ 0x36 for b in padded)), hashlib.sha256(bytes(b ^ 0x5C for b in padded))


@lru_cache(maxsize=1024)
def _ferrite_hashes(secret: str) -> _Hashes:
    return _hashes(secret.encode())


@lru_cache(maxsize=1024)
def _standard_hashes(secret: str) -> _Hashes:
    return _hashes(_standard_key(secret))


def _hmac_sha256(hashes: _Hashes, message: bytes) -> hashlib._Hash:
    """HMAC (RFC 2104) of a message. The two hashes have taken the key, once for all messages: so it takes half the
    time of the hmac module."""
    inner, outer = hashes[0].copy(), hashes[1].copy()
    inner.update(message)
    outer.update(inner.digest())
    return outer


# --- schemes ------------------------------------------------------------------------------------------------


def _ferrite(secret: str, id: str, seconds: str, body: bytes) -> str:
    if asymmetric.is_private(secret):
        return ""  # the scheme is symmetric
    return "sha256=" + _hmac_sha256(_ferrite_hashes(secret), body).hexdigest()


def _standard(secret: str, id: str, seconds: str, body: bytes) -> str:
    message = f"{id}.{seconds}.".encode() + body
    if asymmetric.is_private(secret):
        return asymmetric.sign(secret, message)
    return "v1," + b64encode(_hmac_sha256(_standard_hashes(secret), message).digest()).decode()


# Header -> the signature in it, from (secret, message id, unix seconds as text, body); "" = not with this secret.
SCHEMES: dict[str, Callable[[str, str, str, bytes], str]] = {
    "X-Ferrite-Signature": _ferrite,
    "webhook-signature": _standard,
}


# Schemes whose header has room for several signatures, space-separated.
_SEVERAL = frozenset({"webhook-signature"})


def _signatures(webhook: Webhook, id: str, seconds: str, body: bytes, now_ms: int) -> list[tuple[str, str]]:
    secrets = [webhook.secret] if webhook.secret else []
    if webhook.old_secret and now_ms < webhook.old_secret_until:
        secrets.append(webhook.old_secret)
    if not secrets:
        return []
    headers = []
    for name, sign in SCHEMES.items():
        signatures = [signature for secret in secrets if (signature := sign(secret, id, seconds, body))]
        if name in _SEVERAL and signatures:
            headers.append((name, " ".join(signatures)))
        else:
            headers += zip((name, f"{name}-Old"), signatures, strict=False)
    return headers


def headers_for(
    webhook: Webhook, delivery_id: str, event_name: str, attempt: int, body: bytes, now_ms: int
) -> Headers:
    """Every header of one attempt except those of the connection itself (Host, Content-Length).

    `event_name` is the wide name, or BATCH for a batch. `attempt` counts from 1.
    """
    seconds = str(now_ms // 1000)
    return (
        *_steady(webhook.format, event_name == BATCH, webhook.name, webhook.auth, webhook.headers),
        ("X-Ferrite-Event", event_name),
        ("X-Ferrite-Delivery", delivery_id),
        ("X-Ferrite-Attempt", str(attempt)),
        ("webhook-id", delivery_id),
        ("webhook-timestamp", seconds),
        *_signatures(webhook, delivery_id, seconds, body, now_ms),
    )


@lru_cache(maxsize=1024)
def _steady(format: Format, batch: bool, name: str, auth: str, own: Headers) -> Headers:
    """The headers that are the same for all requests of a webhook."""
    headers = [
        ("Content-Type", content_type(format, batch)),
        ("User-Agent", USER_AGENT),
        ("X-Ferrite-Webhook", quote(name, safe=_PLAIN)),
    ]
    if auth:
        headers.append(("Authorization", auth))
        own = tuple(header for header in own if header[0].lower() != "authorization")
    return (*headers, *own)


# --- what a webhook may set ---------------------------------------------------------------------------------

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"}
    | {"te", "trailer", "transfer-encoding", "upgrade", "expect"}
)
_OURS = frozenset({"user-agent", "webhook-id", "webhook-timestamp", *(name.lower() for name in SCHEMES)})
HIDDEN = b"(hidden)"
MIN_PART = 4  # bytes of a secret that are looked for
MAX_HEADER_NAME = 128
MAX_HEADER_VALUE = 4096


def check_header(name: str, value: str) -> None:
    """Raises ValueError, without showing the value, unless a webhook may send this header."""
    if len(name) > MAX_HEADER_NAME or not _TOKEN.fullmatch(name):
        raise ValueError(f"bad header name {name[:MAX_HEADER_NAME]!a}: expected an HTTP token")
    lower = name.lower()
    if lower in _OURS or lower.startswith("x-ferrite-"):
        raise ValueError(f"header {name} is set by the server itself")
    if lower in _HOP_BY_HOP or lower == "host" or lower.startswith("content-"):
        raise ValueError(f"header {name} belongs to the connection and cannot be set")
    if len(value) > MAX_HEADER_VALUE:
        raise ValueError(f"the value of header {name} has more than {MAX_HEADER_VALUE} characters")
    if any(not (" " <= c <= "~" or c == "\t") for c in value):
        raise ValueError(f"the value of header {name} may hold printable ASCII only, no line breaks")


def _bearer(credentials: str) -> str:
    return f"Bearer {credentials}"


def _basic(credentials: str) -> str:
    if ":" not in credentials:
        raise ValueError("basic needs user:password")
    return f"Basic {b64encode(credentials.encode()).decode()}"


AUTH: dict[str, Callable[[str], str]] = {"bearer": _bearer, "basic": _basic}


def authorization(kind: str, credentials: str) -> str:
    """The Authorization value of AUTH bearer TOKEN or AUTH basic USER:PASSWORD (`kind` in any case).

    Raises ValueError, without showing the credentials, for another kind or unusable credentials.
    """
    make = AUTH.get(kind.lower())
    if make is None:
        raise ValueError(f"unknown AUTH {kind[:32]!a}: expected bearer, basic or none")
    value = make(credentials)
    if not credentials or len(value) > MAX_HEADER_VALUE or any(not " " <= c <= "~" for c in value):
        raise ValueError(f"unusable AUTH {kind.lower()} credentials")
    return value


def hide_secrets(webhook: Webhook, body: bytes) -> bytes:
    """The beginning of a response as it may be kept and shown: an endpoint that echoes its requests must not put our
    secrets into the history. One that is cut off at the end is hidden, too."""
    if len(body) < MIN_PART:
        return body
    secrets = {webhook.secret, webhook.old_secret, webhook.auth, webhook.auth.partition(" ")[2]}
    secrets.update(value for _, value in webhook.headers)
    for secret in sorted(secrets, key=len, reverse=True):
        raw = secret.encode()
        if len(raw) < MIN_PART:
            break  # what is so short is no secret, and would be found in every text
        body = body.replace(raw, HIDDEN)
        for size in range(min(len(raw), len(body)), MIN_PART - 1, -1):
            if body.endswith(raw[:size]):
                body = body[:-size] + HIDDEN
                break
    return body


# --- the receiver's side ------------------------------------------------------------------------------------


def verify_signature(
    body: bytes,
    headers: Mapping[str, str],
    secret: str,
    *,
    tolerance_seconds: float = 300,
    now: float | None = None,
) -> None:
    """Checks that the holder of `secret` signed this request: `body` is the raw body as it arrived, `headers`
    its headers in any case. For asymmetric signatures `secret` is the public key, whpk_….

    Accepts X-Ferrite-Signature or Standard Webhooks' headers; when both came, both must hold. Only the latter
    carry a time, which may differ from `now` (unix seconds, default: the clock) by `tolerance_seconds`.
    Raises SignatureError.
    """
    verified_schemes(body, headers, secret, tolerance_seconds=tolerance_seconds, now=now)


def verified_schemes(
    body: bytes,
    headers: Mapping[str, str],
    secret: str,
    *,
    tolerance_seconds: float = 300,
    now: float | None = None,
) -> tuple[str, ...]:
    """As verify_signature; returns the headers (keys of SCHEMES) whose signatures were checked."""
    if not secret:
        raise SignatureError("no secret to verify with")
    lower = {name.lower(): value for name, value in headers.items()}
    verified = []
    asymmetrical = secret.startswith((asymmetric.PRIVATE, asymmetric.PUBLIC))
    ferrite = lower.get("x-ferrite-signature")
    if ferrite is not None and not asymmetrical:
        old = lower.get("x-ferrite-signature-old", "")
        if not _any_equal([ferrite, old], _ferrite(secret, "", "", body)):
            raise SignatureError("X-Ferrite-Signature does not match")
        verified.append("X-Ferrite-Signature")
    standard = lower.get("webhook-signature")
    if standard is not None:
        id, seconds = lower.get("webhook-id", ""), lower.get("webhook-timestamp", "")
        if not id or not re.fullmatch(r"[0-9]{1,15}", seconds):
            raise SignatureError("webhook-id or webhook-timestamp is missing or malformed")
        given = standard.split()[:MAX_SIGNATURES]
        if asymmetrical:
            signed = f"{id}.{seconds}.".encode() + body
            try:
                holds = any(asymmetric.verifies(secret, signed, signature) for signature in given)
            except ValueError as unusable:
                raise SignatureError(str(unusable)) from None
        else:
            holds = _any_equal(given, _standard(secret, id, seconds, body))
        if not holds:
            raise SignatureError("webhook-signature does not match")
        age = (time.time() if now is None else now) - int(seconds)
        if abs(age) > tolerance_seconds:
            raise SignatureError(f"signed {abs(age):.0f} s {'ago' if age > 0 else 'in the future'}")
        verified.append("webhook-signature")
    if not verified:
        raise SignatureError("the request has no signature")
    return tuple(verified)


def _any_equal(given: list[str], expected: str) -> bool:
    """Whether one of them is `expected`; the time it takes tells nothing about how nearly."""
    wanted = expected.encode()
    return any(hmac.compare_digest(one.encode("utf-8", "replace"), wanted) for one in given)
