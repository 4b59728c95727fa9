"""The words of WEBHOOK.CREATE and UPDATE: what they set, and what they are refused for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrite_hooks.webhooks.model import Backoff, Condition, Format, Overflow, Webhook
from ferrite_hooks.webhooks.options import OPTIONS, Limits, Refusal, check_name, parse

BASE = Webhook(serial=1, name="w", url="https://example.com/")
LIMITS = Limits()


def parsed(line: str, base: Webhook = BASE, updating: bool = False) -> Webhook:
    return parse([w.encode() for w in line.split()], base, LIMITS, updating=updating).webhook


def test_everything_at_once() -> None:
    w = parsed(
        "pattern user:* PATTERN order:* Events set del @hash user.created DB 3 0 AUTH bearer t0ken RETRIES 5 "
        "RETRY_DELAY 250 RETRY_BACKOFF linear MAX_RETRY_DELAY 9000 TIMEOUT 700 BATCH true BATCH_SIZE 7 "
        "BATCH_INTERVAL 40 RATE_LIMIT 2.5 CONCURRENCY 3 FORMAT cloudevents OLD_VALUE false COALESCE true "
        "WHEN data.value.status = paid WHEN key prefix user MAX_PENDING 99 OVERFLOW reject "
        "DESCRIPTION text HEADER X-One 1 header X-Two 2 SECRET s3cret DISABLED"
    )
    assert w.patterns == (b"user:*", b"order:*")
    assert w.events == ("SET", "DEL", "@hash", "user.created")
    assert (w.databases, w.auth, w.secret) == ((0, 3), "Bearer t0ken", "s3cret")
    assert (w.max_retries, w.retry_delay_ms, w.backoff, w.max_retry_delay_ms) == (5, 250, Backoff.LINEAR, 9000)
    assert (w.timeout_ms, w.batch, w.batch_size, w.batch_interval_ms) == (700, True, 7, 40)
    assert (w.rate_limit, w.concurrency, w.format) == (2.5, 3, Format.CLOUDEVENTS)
    assert (w.old_value, w.coalesce, w.max_pending, w.overflow) == (False, True, 99, Overflow.REJECT)
    assert w.when == (Condition("data.value.status", "=", "paid"), Condition("key", "prefix", "user"))
    assert (w.description, w.headers, w.enabled) == ("text", (("X-One", "1"), ("X-Two", "2")), False)


def test_an_update_keeps_what_it_does_not_name() -> None:
    before = parsed("PATTERN a* EVENTS SET HEADER X-One 1 HEADER X-Two 2 WHEN key = k")
    after = parsed("URL http://new/ HEADER x-one 9 RETRIES 1", before, updating=True)
    assert (after.url, after.patterns, after.events, after.when) == (
        "http://new/", before.patterns, before.events, before.when,
    )  # fmt: skip
    assert after.headers == (("X-Two", "2"), ("x-one", "9"))
    cleared = parse([b"HEADER", b"X-TWO", b"", b"WHEN", b"none", b"PATTERN", b"b"], after, LIMITS, updating=True)
    assert (cleared.webhook.headers, cleared.webhook.when) == ((("x-one", "9"),), ())
    assert cleared.webhook.patterns == (b"b",)


def test_secret_generate_is_told_once() -> None:
    made = parse([b"secret", b"generate"], BASE, LIMITS)
    assert made.generated.startswith("whsec_")
    assert made.webhook.secret == made.generated
    assert made.generated not in repr(made.webhook)
    assert parse([b"SECRET", b"own"], BASE, LIMITS).generated == ""


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("BOGUS 1", "BOGUS"),
        ("URL http://x/", "URL"),
        ("RETRIES 1 retries 2", "RETRIES"),
        ("RETRIES", "RETRIES"),
        ("RETRIES -1", "RETRIES"),
        ("RETRIES 101", "RETRIES"),
        ("RETRIES ٣", "RETRIES"),
        ("TIMEOUT 0", "TIMEOUT"),
        ("TIMEOUT 1.5", "TIMEOUT"),
        ("BATCH yes", "BATCH"),
        ("RETRY_BACKOFF never", "RETRY_BACKOFF"),
        ("RATE_LIMIT nan", "RATE_LIMIT"),
        ("RATE_LIMIT -3", "RATE_LIMIT"),
        ("RATE_LIMIT inf", "RATE_LIMIT"),
        ("EVENTS", "EVENTS"),
        ("EVENTS bogus", "bogus"),
        ("EVENTS SET,DEL", "with spaces between them"),
        ("DB 16", "DB"),
        ("AUTH hunter2", "AUTH"),
        ("AUTH basic nocolon", "AUTH"),
        ("HEADER Host x", "Host"),
        ("HEADER X-Ferrite-Event x", "X-Ferrite-Event"),
        ("WHEN key ~ 3", "WHEN"),
        ("WHEN nowhere = 3", "nowhere"),
        ("WHEN key exists maybe", "WHEN"),
        ("MAX_PENDING 10001", "MAX_PENDING"),
        ("SECRET whsec_!!!", "SECRET"),
    ],
)
def test_refusals_name_the_option(line: str, named: str) -> None:
    with pytest.raises(Refusal, match=named) as refusal:
        parsed(line)
    assert "hunter2" not in str(refusal.value)


def test_an_update_of_nothing_is_refused() -> None:
    with pytest.raises(Refusal, match="nothing to update"):
        parsed("", updating=True)


def test_the_url_is_asked_about() -> None:
    def check(url: str) -> None:
        raise ValueError("host is not allowed")

    with pytest.raises(Refusal, match="host is not allowed"):
        parse([b"URL", b"http://evil/"], BASE, Limits(check_url=check), updating=True)


@given(st.lists(st.one_of(st.sampled_from([o.encode() for o in OPTIONS]), st.binary(max_size=8)), max_size=8))
def test_any_words_give_a_definition_or_a_refusal(tokens: list[bytes]) -> None:
    try:
        parse(tokens, BASE, LIMITS, updating=True)
    except Refusal as refusal:
        assert "\n" not in str(refusal) and "\r" not in str(refusal)


@pytest.mark.parametrize("name", [b"", b" ", b"a b", b"-x", b"a" * 129, b"\xff", b"a\n"])
def test_bad_names(name: bytes) -> None:
    with pytest.raises(Refusal):
        check_name(name)
    assert check_name(b"order-updates") == "order-updates"
