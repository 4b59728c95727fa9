"""Signatures that Ferrite's documented verifier and Standard Webhooks accept, and the receiver's own check."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from dataclasses import replace

import pytest
from standardwebhooks.webhooks import Webhook as StandardWebhook
from standardwebhooks.webhooks import WebhookVerificationError

import ferrite_hooks
from ferrite_hooks.webhooks.model import Format, Webhook
from ferrite_hooks.webhooks.sign import (
    BATCH,
    SignatureError,
    authorization,
    check_header,
    check_secret,
    generate_secret,
    headers_for,
    hide_secrets,
    verified_schemes,
    verify_signature,
)

NOW = 1_768_473_000_123
BODY = '{"id":"evt_1","key":"ü"}'.encode()
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
HOOK = Webhook(7, "orders", "http://127.0.0.1/", secret=SECRET)


def headers(hook: Webhook = HOOK, attempt: int = 1, now_ms: int = NOW, body: bytes = BODY) -> dict[str, str]:
    pairs = headers_for(hook, "dlv_1", "SET", attempt, body, now_ms)
    assert len({name.lower() for name, _ in pairs}) == len(pairs), "a header was given twice"
    return dict(pairs)


def test_every_header_of_a_request() -> None:
    ferrite = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()
    signed = b"dlv_1.1768473000." + BODY
    standard = base64.b64encode(hmac.new(bytes(range(32)), signed, hashlib.sha256).digest()).decode()
    assert headers(attempt=3) == {
        "Content-Type": "application/json",
        "User-Agent": f"ferrite-hooks/{ferrite_hooks.__version__}",
        "X-Ferrite-Event": "SET",
        "X-Ferrite-Webhook": "orders",
        "X-Ferrite-Delivery": "dlv_1",
        "X-Ferrite-Attempt": "3",
        "webhook-id": "dlv_1",
        "webhook-timestamp": "1768473000",
        "X-Ferrite-Signature": f"sha256={ferrite}",
        "webhook-signature": f"v1,{standard}",
    }


@pytest.mark.parametrize("size", [1, 31, 63, 64, 65, 200, 512])
def test_a_secret_of_any_length_signs_as_the_hmac_module_does(size: int) -> None:
    secret = "s" * size
    headers = dict(headers_for(replace(HOOK, secret=secret), "dlv_1", "SET", 1, BODY, 1_700_000_000_000))
    ferrite = hmac.new(secret.encode(), BODY, hashlib.sha256).hexdigest()
    standard = hmac.new(secret.encode(), b"dlv_1.1700000000." + BODY, hashlib.sha256).digest()
    assert headers["X-Ferrite-Signature"] == f"sha256={ferrite}"
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(standard).decode()}"


def test_without_a_secret_nothing_is_signed() -> None:
    names = {name.lower() for name in headers(replace(HOOK, secret=""))}
    assert "webhook-id" in names and not any("signature" in name for name in names)


def test_standardwebhooks_accepts_it_and_refuses_another_secret() -> None:
    sent = headers(now_ms=int(time.time() * 1000))
    assert StandardWebhook(SECRET).verify(BODY, sent) == {"id": "evt_1", "key": "ü"}
    with pytest.raises(WebhookVerificationError):
        StandardWebhook(generate_secret()).verify(BODY, sent)
    with pytest.raises(WebhookVerificationError):
        StandardWebhook(SECRET).verify(BODY + b" ", sent, json_parse=False)


def test_a_plain_secret_is_its_own_bytes() -> None:
    sent = headers(replace(HOOK, secret="mysecretkey"), now_ms=int(time.time() * 1000))
    StandardWebhook(b"mysecretkey").verify(BODY, sent)


def test_during_a_rotation_both_secrets_verify_and_afterwards_only_the_new_one() -> None:
    new = generate_secret()
    hook = replace(HOOK, secret=new, old_secret=SECRET, old_secret_until=NOW + 1000)
    sent, later = headers(hook), headers(hook, now_ms=NOW + 1000)
    both = ("X-Ferrite-Signature", "webhook-signature")
    for secret in (new, SECRET):
        assert verified_schemes(BODY, sent, secret, now=NOW / 1000) == both
    verify_signature(BODY, later, new, now=NOW / 1000)
    with pytest.raises(SignatureError):
        verify_signature(BODY, later, SECRET, now=NOW / 1000)
    live = headers(replace(hook, old_secret_until=2**53), now_ms=int(time.time() * 1000))
    StandardWebhook(SECRET).verify(BODY, live)
    StandardWebhook(new).verify(BODY, live)


def test_the_id_is_constant_over_attempts_and_the_time_is_the_attempts() -> None:
    first, second = headers(), headers(attempt=2, now_ms=NOW + 60_000)
    assert first["webhook-id"] == second["webhook-id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 60
    assert first["X-Ferrite-Signature"] == second["X-Ferrite-Signature"]


def test_content_types_follow_the_format() -> None:
    hook = replace(HOOK, format=Format.CLOUDEVENTS)
    assert headers(hook)["Content-Type"] == "application/cloudevents+json"
    batch = dict(headers_for(hook, "d", BATCH, 1, b"[]", NOW))
    assert batch["Content-Type"] == "application/cloudevents-batch+json"
    assert batch["X-Ferrite-Event"] == "batch"


def test_custom_headers_and_auth() -> None:
    custom = (("X-API-Key", "k"), ("authorization", "Bearer theirs"))
    assert headers(replace(HOOK, headers=custom))["authorization"] == "Bearer theirs"
    sent = headers(replace(HOOK, headers=custom, auth="Bearer ours"))
    assert (sent["Authorization"], sent["X-API-Key"]) == ("Bearer ours", "k") and "authorization" not in sent


def test_a_webhooks_name_cannot_break_out_of_its_header() -> None:
    assert headers(replace(HOOK, name="a\r\nX: y é%"))["X-Ferrite-Webhook"] == "a%0D%0AX: y %C3%A9%25"


# --- what may be set ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Host", "content-type", "Content-Length", "Content-Encoding", "Connection", "Transfer-Encoding", "TE",
        "Upgrade", "Expect", "Keep-Alive", "Proxy-Authorization", "X-Ferrite-Signature", "x-ferrite-anything",
        "webhook-id", "Webhook-Signature", "User-Agent", "", "a b", "a:b", "é", "a\r\nb", "a" * 129,
    ],
)  # fmt: skip
def test_headers_that_may_not_be_set(name: str) -> None:
    with pytest.raises(ValueError, match="header") as refusal:
        check_header(name, "private")
    assert "private" not in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\0b", "\x7f", "é", "x" * 4097])
def test_values_that_may_not_be_sent(value: str) -> None:
    with pytest.raises(ValueError) as refusal:
        check_header("X-API-Key", value)
    assert value not in str(refusal.value)


def test_headers_that_may_be_set() -> None:
    for name, value in (("X-API-Key", "a b\t~"), ("Authorization", "Bearer t"), ("Accept", "")):
        check_header(name, value)


def test_authorization() -> None:
    assert authorization("Bearer", "mytoken123") == "Bearer mytoken123"
    assert authorization("basic", "user:pass") == "Basic dXNlcjpwYXNz"
    refused = (("digest", "x"), ("basic", "user"), ("bearer", ""), ("bearer", "a\r\nb"), ("bearer", "é"))
    for kind, credentials in refused:
        with pytest.raises(ValueError) as refusal:
            authorization(kind, credentials)
        assert not credentials or f"'{credentials}'" not in str(refusal.value)


def test_secrets() -> None:
    assert generate_secret() != generate_secret()
    for good in (generate_secret(), "mysecretkey", "ü"):
        check_secret(good)
    for bad in ("", "x" * 513, "a\nb", "whsec_", "whsec_!!", "whsec_abc"):
        with pytest.raises(ValueError) as refusal:
            check_secret(bad)
        assert not bad or bad not in str(refusal.value).replace("whsec_ ", "")


# --- the receiver's side ------------------------------------------------------------------------------------

ALL = headers()
FERRITE_ONLY = {name: value for name, value in ALL.items() if name == "X-Ferrite-Signature"}
STANDARD_ONLY = {name: value for name, value in ALL.items() if name.startswith("webhook-")}


@pytest.mark.parametrize("sent", [ALL, FERRITE_ONLY, STANDARD_ONLY, {k.upper(): v for k, v in ALL.items()}])
def test_either_scheme_verifies(sent: dict[str, str]) -> None:
    ferrite_hooks.verify_signature(BODY, sent, SECRET, now=NOW / 1000)
    for body, secret in ((BODY + b" ", SECRET), (BODY, SECRET + "x"), (BODY, "")):
        with pytest.raises(ferrite_hooks.SignatureError):
            ferrite_hooks.verify_signature(body, sent, secret, now=NOW / 1000)


@pytest.mark.parametrize(
    "broken",
    [
        {"X-Ferrite-Signature": "sha256=" + "0" * 64},
        {"X-Ferrite-Signature": ""},
        {"X-Ferrite-Signature": "sha256=é\ud800"},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": ""},
        {"webhook-id": "dlv_2"},
        {"webhook-id": ""},
        {"webhook-timestamp": "1768473001"},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "٣"},
    ],
)
def test_when_both_came_both_must_hold(broken: dict[str, str]) -> None:
    with pytest.raises(SignatureError):
        verify_signature(BODY, ALL | broken, SECRET, now=NOW / 1000)


@pytest.mark.parametrize(("offset", "ok"), [(300, True), (-300, True), (301, False), (-301, False)])
def test_an_old_or_future_signature_is_refused(offset: int, ok: bool) -> None:
    now = NOW // 1000 + offset
    if ok:
        verify_signature(BODY, ALL, SECRET, now=now)
    else:
        with pytest.raises(SignatureError, match="signed 301 s"):
            verify_signature(BODY, ALL, SECRET, now=now)
        verify_signature(BODY, ALL, SECRET, now=now, tolerance_seconds=301)


def test_an_unsigned_request_is_refused() -> None:
    with pytest.raises(SignatureError, match="no signature"):
        verify_signature(BODY, {"webhook-id": "x", "webhook-timestamp": "1"}, SECRET)


def test_signatures_of_other_versions_are_passed_over() -> None:
    mixed = STANDARD_ONLY | {"webhook-signature": f"v1a,AAAA {STANDARD_ONLY['webhook-signature']} v2,x"}
    verify_signature(BODY, mixed, SECRET, now=NOW / 1000)


def test_what_an_endpoint_echoes_is_hidden() -> None:
    hook = replace(HOOK, old_secret="older", auth="Bearer t0ken", headers=(("X-Key", "h1dden"), ("X-Empty", "")))
    echoed = f"auth: Bearer t0ken, t0ken; key: h1dden; {SECRET}; older; whse".encode()
    assert hide_secrets(hook, echoed) == b"auth: (hidden), (hidden); key: (hidden); (hidden); (hidden); (hidden)"
    assert hide_secrets(hook, b"fine, whs") == b"fine, whs"
    assert hide_secrets(replace(HOOK, secret=""), b"anything") == b"anything"
