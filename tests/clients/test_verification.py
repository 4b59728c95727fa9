"""Do receivers accept what the running server sends, and refuse everything else? Checked with the reference
implementation of Standard Webhooks and with our own verify_signature."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from blocking_receiver import BlockingReceiver
from process import ServerProcess
from receiver import Received, Reply
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from ferrite_hooks import SignatureError, verify_signature

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VALUE = 'Grüße 🚀 "quoted" \\ \u2028'


@pytest.fixture
def delivered(server: ServerProcess, receiver: BlockingReceiver) -> Callable[..., Received]:
    """Makes a webhook with these options, sets a key, and returns the request that came of it."""

    def deliver(*options: str) -> Received:
        with server.client() as client:
            client.execute_command("WEBHOOK.CREATE", "w", receiver.url("/hook"), *options)
            client.set("user:ü", VALUE)
        return receiver.wait(1, path="/hook")[-1]

    return deliver


def standard(request: Received, secret: str = SECRET) -> None:
    Webhook(secret).verify(request.body, request.headers)


def ours(request: Received, secret: str = SECRET) -> None:
    verify_signature(request.body, request.headers, secret)


VERIFIERS = {"standardwebhooks": standard, "verify_signature": ours}
Verify = Callable[..., None]


@pytest.fixture(params=VERIFIERS)
def verify(request: pytest.FixtureRequest) -> Iterator[Verify]:
    yield VERIFIERS[request.param]


def refused(verify: Verify, request: Received, secret: str = SECRET) -> None:
    with pytest.raises((WebhookVerificationError, SignatureError)):
        verify(request, secret)


@pytest.mark.parametrize("format", ["ferrite", "standard", "cloudevents"])
@pytest.mark.parametrize("batch", ["true", "false"])
def test_real_deliveries_verify(delivered: Callable[..., Received], verify: Verify, format: str, batch: str) -> None:
    request = delivered("SECRET", SECRET, "FORMAT", format, "BATCH", batch, "BATCH_INTERVAL", "10")
    assert "Grüße 🚀" in request.body.decode()
    verify(request)


def test_tampering_is_noticed(delivered: Callable[..., Received], verify: Verify) -> None:
    request = delivered("SECRET", SECRET)
    for body in (request.body.replace(b"SET", b"DEL"), request.body + b" ", request.body[:-1], b""):
        refused(verify, with_(request, body=body))
    refused(verify, with_(request, headers={**request.headers, "webhook-id": "dlv_other"}))
    later = str(int(request.headers["webhook-timestamp"]) + 1)
    refused(verify, with_(request, headers={**request.headers, "webhook-timestamp": later}))
    bare = {name: value for name, value in request.headers.items() if "signature" not in name}
    refused(verify, with_(request, headers=bare))
    verify(request)


def test_a_wrong_secret_is_noticed(delivered: Callable[..., Received], verify: Verify) -> None:
    refused(verify, delivered("SECRET", SECRET), "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")


def test_an_old_request_is_refused(
    delivered: Callable[..., Received], verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six minutes later somebody sends it again."""
    request = delivered("SECRET", SECRET)
    verify(request)
    at = time.time() + 360

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Later:
            return cls.fromtimestamp(at, tz)

    monkeypatch.setattr("standardwebhooks.webhooks.datetime", Later)
    monkeypatch.setattr("ferrite_hooks.webhooks.sign.time.time", lambda: at)
    refused(verify, request)


def test_both_secrets_hold_during_a_rotation(
    server: ServerProcess, receiver: BlockingReceiver, delivered: Callable[..., Received], verify: Verify
) -> None:
    verify(delivered("SECRET", SECRET))
    with server.client(protocol=3, decode_responses=True) as client:
        fresh = client.execute_command("WEBHOOK.ROTATE", "w", "SECRET", "GENERATE", "OVERLAP", "60")["secret"]
        client.set("user:ü", "after")
        rotated = receiver.wait(2, path="/hook")[-1]
        verify(rotated, fresh)
        verify(rotated, SECRET)
        client.execute_command("WEBHOOK.UPDATE", "w", "SECRET", SECRET)  # ends the overlap
        client.set("user:ü", "last")
        last = receiver.wait(3, path="/hook")[-1]
        verify(last, SECRET)
        refused(verify, last, fresh)


def test_a_retry_is_signed_anew_with_the_same_id(
    server: ServerProcess, receiver: BlockingReceiver, verify: Verify
) -> None:
    receiver.script("/hook", Reply(500), Reply(503))
    with server.client() as client:
        client.execute_command("WEBHOOK.CREATE", "w", receiver.url("/hook"), "SECRET", SECRET, "RETRY_DELAY", "10")
        client.set("k", "v")
    requests = receiver.wait(3, path="/hook")
    for request in requests:
        verify(request)
    assert len({request.headers["webhook-id"] for request in requests}) == 1
    assert [request.headers["x-ferrite-attempt"] for request in requests] == ["1", "2", "3"]


def with_(request: Received, **changes: object) -> Received:
    return replace(request, **changes)  # type: ignore[arg-type]
