"""Standard Webhooks' asymmetric signatures, `v1a`: ed25519, so that receivers need no secret, only a public key.

A private key is written `whsk_` and its base64 (the 32-byte seed, or seed and public key as some tools store
them), a public one `whpk_` and the base64 of its 32 bytes. The arithmetic is the `cryptography` package's, an extra
that only those need who use such keys: `pip install ferrite-hooks[asymmetric]`.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PRIVATE = "whsk_"
PUBLIC = "whpk_"
MISSING = "asymmetric keys need the package 'cryptography': pip install 'ferrite-hooks[asymmetric]'"


def is_private(secret: str) -> bool:
    return secret.startswith(PRIVATE)


def generate_key() -> str:
    """A new private key. Raises ValueError without the extra."""
    from_seed = _ed25519().Ed25519PrivateKey
    return PRIVATE + b64encode(from_seed.generate().private_bytes_raw()).decode()


def check_key(secret: str) -> None:
    """Raises ValueError, which does not show it, for what is no private key, and without the extra."""
    _private(secret)


def public_key(secret: str) -> str:
    """`whpk_…` of a private key. Raises ValueError."""
    return PUBLIC + b64encode(_private(secret).public_key().public_bytes_raw()).decode()


def sign(secret: str, signed: bytes) -> str:
    """`v1a,<base64>` over `signed`. Raises ValueError."""
    return "v1a," + b64encode(_private(secret).sign(signed)).decode()


def verifies(key: str, signed: bytes, signature: str) -> bool:
    """Whether `signature` (`v1a,<base64>`) is of the holder of `key`, public or private. Raises ValueError if that is
    no key."""
    ed25519 = _ed25519()
    raw = _private(key).public_key().public_bytes_raw() if is_private(key) else _decode(key, PUBLIC, (32,))
    scheme, _, encoded = signature.partition(",")
    if scheme != "v1a":
        return False
    from cryptography.exceptions import InvalidSignature

    try:
        ed25519.Ed25519PublicKey.from_public_bytes(raw).verify(b64decode(encoded, validate=True), signed)
    except (InvalidSignature, binascii.Error):
        return False
    return True


def _ed25519() -> Any:
    """The module. Raises ValueError if it is not installed."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise ValueError(MISSING) from None
    return ed25519


@lru_cache(maxsize=1024)
def _private(secret: str) -> Ed25519PrivateKey:
    raw = _decode(secret, PRIVATE, (32, 64))
    key: Ed25519PrivateKey = _ed25519().Ed25519PrivateKey.from_private_bytes(raw[:32])
    if raw[32:] not in (b"", key.public_key().public_bytes_raw()):
        raise ValueError("the two halves of the whsk_ key do not belong together")
    return key


def _decode(text: str, prefix: str, sizes: tuple[int, ...]) -> bytes:
    try:
        raw = b64decode(text.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) not in sizes:
        raise ValueError(f"what follows {prefix} must be the base64 of {' or '.join(map(str, sizes))} bytes")
    return raw
