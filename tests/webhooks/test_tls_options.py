"""A webhook's own TLS: verification, a private authority, a client certificate; for administrators to set."""

from __future__ import annotations

from pathlib import Path

import pytest
from webhook_world import World

from ferrite_hooks.webhooks import report
from ferrite_hooks.webhooks.dial import load_tls
from ferrite_hooks.webhooks.model import Tls, Webhook, tls_of
from ferrite_hooks.webhooks.options import Limits, Refusal, parse

GENERAL = Tls(True, "general-ca", "general-cert", "general-key")
BASE = Webhook(1, "w", "https://example.com/")


def parsed(words: str, limits: Limits | None = None, admin: bool = True) -> Webhook:
    return parse(words.encode().split(), BASE, limits or Limits(), admin=admin).webhook


@pytest.mark.parametrize(
    ("words", "tls"),
    [
        ("RETRIES 1", None),
        ("VERIFY_SSL false", Tls(False, *GENERAL[1:])),
        ("VERIFY_SSL default", None),
        ("CA_FILE own-ca", Tls(True, "own-ca", "general-cert", "general-key")),
        ("CLIENT_CERT c CLIENT_KEY k VERIFY_SSL true", Tls(True, "general-ca", "c", "k")),
        ("CLIENT_CERT both", Tls(True, "general-ca", "both", "")),
    ],
)
def test_what_a_webhook_does_not_say_is_as_configured(words: str, tls: Tls | None) -> None:
    assert tls_of(parsed(words), GENERAL) == tls


@pytest.mark.parametrize("words", ["VERIFY_SSL false", "CA_FILE /x", "CLIENT_CERT /x", "CLIENT_KEY /x", "CA_FILE none"])
def test_only_administrators_name_files_or_turn_verification_off(words: str) -> None:
    with pytest.raises(Refusal, match=r"for administrators \(@admin\)"):
        parsed(words, admin=False)


@pytest.mark.parametrize("words", ["VERIFY_SSL maybe", "CA_FILE a\nb", "CLIENT_KEY k", "CA_FILE"])
def test_refused(words: str) -> None:
    with pytest.raises(Refusal):
        parsed(words.replace("\n", "\x01"))


def test_files_that_cannot_be_used_are_refused_and_not_shown(tmp_path: Path) -> None:
    limits = Limits(check_tls=load_tls)
    broken = tmp_path / "broken.pem"
    broken.write_text("s3cret, and no certificate")
    for words in (f"CA_FILE {tmp_path}/missing", f"CA_FILE {broken}", f"CLIENT_CERT {broken}"):
        with pytest.raises(Refusal, match="the TLS files cannot be used") as refused:
            parsed(words, limits)
        assert "s3cret" not in str(refused.value)


def test_the_requests_carry_it_and_a_restart_keeps_it() -> None:
    world = World(tls=GENERAL).start()
    hook = world.create(options="CA_FILE own-ca")
    world.write("k")
    world.settle()
    assert world.flying[0].request.tls == Tls(True, "own-ca", "general-cert", "general-key")
    assert report.info(world.manager, hook)["ca_file"] == "own-ca"
    with pytest.raises(Refusal, match="administrators"):
        world.manager.update(hook, [b"CA_FILE", b"none"], "ann")
    world.crash()
    world.settle()
    assert world.flying[0].request.tls == Tls(True, "own-ca", "general-cert", "general-key")
    world.manager.update(world.manager.find(b"w", "default"), [b"CA_FILE", b"none"])
    world.write("other")
    world.settle()
    assert world.flying[1].request.tls is None
