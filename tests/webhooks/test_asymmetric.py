"""ed25519 signatures: keys in Standard Webhooks' forms, signing, rotation, and the receiver's check."""

from __future__ import annotations

import sys
from base64 import b64decode, b64encode
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ferrite_hooks.webhooks import asymmetric
from ferrite_hooks.webhooks.model import Webhook
from ferrite_hooks.webhooks.options import Refusal, read_secret
from ferrite_hooks.webhooks.sign import (
    SignatureError,
    check_secret,
    headers_for,
    verified_schemes,
    verify_signature,
)

NOW = 1_768_473_000_123
BODY = b'{"id":"evt_1"}'
# RFC 8032, section 7.1, TEST 1
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
POINT = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
EMPTY = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)
PRIVATE, PUBLIC = "whsk_" + b64encode(SEED).decode(), "whpk_" + b64encode(POINT).decode()
SYMMETRIC = "whsec_" + b64encode(b"k" * 32).decode()
HOOK = Webhook(7, "orders", "http://127.0.0.1/", secret=PRIVATE)


def headers(hook: Webhook = HOOK, now_ms: int = NOW) -> dict[str, str]:
    return dict(headers_for(hook, "dlv_1", "SET", 1, BODY, now_ms))


def test_the_published_vector() -> None:
    assert asymmetric.public_key(PRIVATE) == PUBLIC
    assert asymmetric.sign(PRIVATE, b"") == "v1a," + b64encode(EMPTY).decode()
    both_halves = "whsk_" + b64encode(SEED + POINT).decode()
    assert asymmetric.sign(both_halves, b"") == asymmetric.sign(PRIVATE, b"")
    assert asymmetric.verifies(PUBLIC, b"", asymmetric.sign(PRIVATE, b""))


def test_only_the_standard_header_is_signed() -> None:
    sent = headers()
    assert "X-Ferrite-Signature" not in sent and sent["webhook-signature"].startswith("v1a,")
    Ed25519PublicKey.from_public_bytes(POINT).verify(
        b64decode(sent["webhook-signature"][4:]), b"dlv_1.1768473000." + BODY
    )
    for key in (PUBLIC, PRIVATE):
        assert verified_schemes(BODY, sent, key, now=NOW / 1000) == ("webhook-signature",)


@pytest.mark.parametrize("change", ["body", "id", "time", "signature", "key", "age", "none"])
def test_what_does_not_verify(change: str) -> None:
    sent, body, key, now = headers(), BODY, PUBLIC, NOW / 1000
    if change == "body":
        body += b" "
    elif change == "id":
        sent["webhook-id"] = "dlv_2"
    elif change == "time":
        sent["webhook-timestamp"] = "1768473001"
    elif change == "signature":
        sent["webhook-signature"] = "v1a,!!! v1a,AAAA v1," + sent["webhook-signature"][4:]
    elif change == "key":
        key = asymmetric.public_key(asymmetric.generate_key())
    elif change == "age":
        now += 301
    else:
        del sent["webhook-signature"]
    with pytest.raises(SignatureError):
        verify_signature(body, sent, key, now=now)


def test_rotation_from_a_shared_secret_to_a_key_and_back() -> None:
    new = replace(HOOK, old_secret=SYMMETRIC, old_secret_until=NOW + 1000)
    for key in (PUBLIC, SYMMETRIC):
        verify_signature(BODY, headers(new), key, now=NOW / 1000)
    back = replace(new, secret=SYMMETRIC, old_secret=PRIVATE)
    for key in (PUBLIC, SYMMETRIC):
        verify_signature(BODY, headers(back), key, now=NOW / 1000)
    after = headers(new, now_ms=NOW + 1000)
    assert len(after["webhook-signature"].split()) == 1 and "X-Ferrite-Signature" not in after


@pytest.mark.parametrize(
    "secret",
    ["whsk_", "whsk_AAAA", "whsk_é", "whsk_" + b64encode(SEED + SEED).decode(), PUBLIC, PRIVATE + "A"],
)
def test_unusable_keys_are_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ValueError) as refused:
        check_secret(secret)
    assert secret[5:] == "" or secret[5:] not in str(refused.value)


def test_generated_keys_are_private_and_only_the_public_one_is_told() -> None:
    private, shown = read_secret("generate_v1a")
    assert private.startswith("whsk_") and shown == asymmetric.public_key(private)
    check_secret(private)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    asymmetric._private.cache_clear()
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    for word in ("GENERATE_V1A", PRIVATE):
        with pytest.raises(Refusal, match=r"pip install 'ferrite-hooks\[asymmetric\]'"):
            read_secret(word)
    with pytest.raises(SignatureError, match="ferrite-hooks"):
        verify_signature(BODY, {"webhook-signature": "v1a,x", "webhook-id": "a", "webhook-timestamp": "1"}, PUBLIC)
