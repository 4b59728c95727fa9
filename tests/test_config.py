"""The configuration: what is documented is what is read, and every mistake is named with its key."""

import dataclasses
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ferrite_hooks.config import (
    KEYS,
    REDIS_NAMES,
    Config,
    ConfigError,
    changed,
    example,
    flat,
    load,
    output_buffer_limits,
    parse,
    parse_size,
)

EXAMPLE = Path(__file__).parent.parent / "config.example.toml"


def leaves(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def errors_of(tmp_path: Path, text: str, overrides: dict[str, object] | None = None) -> list[str]:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, overrides)
    assert str(caught.value) == "\n".join(caught.value.errors)
    return caught.value.errors


def test_the_example_has_exactly_every_key_with_its_default() -> None:
    text = EXAMPLE.read_text()
    assert text == example(), "run: python -m ferrite_hooks.config > config.example.toml"
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in leaves(tomllib.loads(text)).items()}
    assert given == {name: key.default for name, key in KEYS.items()}
    assert load(EXAMPLE) == load(None) == Config()
    lines = text.splitlines()
    for before, line in pairwise(lines):
        if re.match(r"\w+ = ", line):
            assert re.match(r"# \w|# …", before), f"{line} has no line of help"


def test_documented_keys_have_their_names_and_defaults() -> None:
    documented = {
        "webhooks.enabled": True,
        "webhooks.max_webhooks": 1000,
        "webhooks.max_batch_size": 100,
        "webhooks.batch_interval_ms": 1000,
        "webhooks.delivery.timeout_ms": 5000,
        "webhooks.delivery.max_retries": 3,
        "webhooks.delivery.retry_delay_ms": 1000,
        "webhooks.delivery.backoff_multiplier": 2.0,
        "webhooks.delivery.max_retry_delay_ms": 60000,
        "webhooks.queue.max_pending": 10000,
        "webhooks.queue.persistence": True,
        "webhooks.security.verify_ssl": True,
        "webhooks.security.allowed_hosts": (),
    }
    assert {name: KEYS[name].default for name in documented} == documented


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        'server = {port = 7000, maxmemory = "100mb"}\n[webhooks.delivery]\nbackoff_multiplier = 3\n'
        '[webhooks.security]\nallowed_hosts = ["*.example.com"]\n'
    )
    config = load(file)
    assert (config.server.port, config.server.maxmemory) == (7000, 100 << 20)
    assert config.webhooks.delivery.backoff_multiplier == 3.0
    assert isinstance(config.webhooks.delivery.backoff_multiplier, float)
    assert config.webhooks.security.allowed_hosts == ("*.example.com",)
    names = {name for name, value in flat(config).items() if value != KEYS[name].default}
    assert len(names) == 4


def test_overrides_win_over_the_file_typed_or_as_text(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[server]\nport = 7000\n")
    assert load(file, {"server.port": 7001}).server.port == 7001
    config = load(
        file,
        {
            "server.port": "7002",
            "server.bind": "127.0.0.1 -::1",
            "journal.enabled": "no",
            "server.maxmemory": "1gb",
            "webhooks.delivery.jitter": "0.5",
            "server.requirepass": "secret",
        },
    )
    assert (config.server.port, config.server.bind) == (7002, ("127.0.0.1", "-::1"))
    assert (config.journal.enabled, config.server.maxmemory) == (False, 1 << 30)
    assert (config.webhooks.delivery.jitter, config.server.requirepass) == (0.5, "secret")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[server]\nprot = 1", "server.prot: there is no such key, did you mean server.port?"),
        ("[serve]\nport = 1", "serve.port: there is no such key, did you mean server.port?"),
        ("port = 1", "port: there is no such key, did you mean server.port?"),
        ("[webhooks]\ntimeout_ms = 1", "did you mean webhooks.delivery.timeout_ms?"),
        ("[nonsense]", "nonsense: there is no such key"),
        ("xyzzy = 1", "xyzzy: there is no such key"),
        ("webhooks = 5", "webhooks: expected a table of keys"),
        ("[server]\nport = {a = 1}", "server.port: expected a whole number, got a table"),
        ("[webhooks.delivery]\ntimeout_ms = 'fast'", "expected milliseconds (a whole number), got 'fast'"),
        ("[webhooks.delivery]\ntimeout_ms = 1.5", "got 1.5"),
        ("[webhooks.delivery]\ntimeout_ms = true", "got True"),
        ("[webhooks.delivery]\ntimeout_ms = 0", "expected at least 1, got 0"),
        ("[webhooks.delivery]\njitter = nan", "webhooks.delivery.jitter: expected a number, got nan"),
        ("[webhooks.delivery]\njitter = inf", "webhooks.delivery.jitter: expected a number, got inf"),
        ("[webhooks.delivery]\njitter = 2", "expected at most 1, got 2"),
        ("[server]\nport = 65536", "server.port: expected at most 65535, got 65536"),
        ("[server]\nmaxclients = 9223372036854775808", "expected less than 2^63"),
        ("[server]\nmaxmemory = '1 parsec'", "server.maxmemory: expected bytes (a whole number), got"),
        ("[server]\nbind = '::1'", "server.bind: expected a list of texts, got '::1'"),
        ("[server]\nbind = [1]", "server.bind: expected a list of texts, got [1]"),
        ("[server]\ndir = 1", "server.dir: expected a text, got 1"),
        ('[server]\ndir = "a\\u0000b"', "without zero bytes"),
        (
            "[journal]\nfsync = 'everysecond'",
            "always, everysec, no (did you mean everysec?), got 'everysecond'",
        ),
        ("[journal]\nenabled = 'yes'", "journal.enabled: expected true or false, got 'yes'"),
        ("[server]\nnotify_keyspace_events = 'KEq'", "unknown flags 'q'"),
        ("[server]\nunixsocketperm = '789'", "octal"),
        ("[snapshot]\nsave = '60'", "pairs of seconds and changes"),
        ("[server]\nclient_output_buffer_limit = 'normal 1 2'", "number of arguments"),
        ("[server]\nclient_output_buffer_limit = 'odd 1 2 3'", "client class"),
        ("[webhooks.security]\nallowed_networks = ['10.0.0.1/8']", "no network in CIDR form"),
        ("[server]\nport = 0", "server.tls_port or server.unixsocket has to be set"),
        ("[server]\ntls_port = 6380", "TLS needs server.tls_cert_file"),
        ("[server]\ntls_port = 6379", "6379 is server.port already"),
        ("[server]\ntls_port = 1", "needs server.tls_ca_cert_file"),
        ("[webhooks.security]\nclient_key_file = 'k'", "go together"),
        (
            "[webhooks.delivery]\nretry_delay_ms = 70000",
            "it is shorter than webhooks.delivery.retry_delay_ms",
        ),
        ("[server\nport = 1", "is not TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, error: str) -> None:
    assert any(error in line for line in errors_of(tmp_path, text)), errors_of(tmp_path, text)


def test_all_mistakes_at_once_files_and_flags(tmp_path: Path) -> None:
    text = "[server]\nport = 'x'\nprot = 1\n[webhooks.queue]\nmax_pending = 0\n"
    errors = errors_of(tmp_path, text, {"server.databases": "many", "journal.enabled": "maybe", "x.y": 1})
    assert [line.partition(":")[0] for line in errors] == [
        "server.port",
        "server.prot",
        "webhooks.queue.max_pending",
        "server.databases",
        "journal.enabled",
        "x.y",
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*missing: No such file"):
        load(tmp_path / "missing")
    (tmp_path / "latin").write_bytes(b"[server]\ndir = '\xe9'\n")
    with pytest.raises(ConfigError, match="is not TOML"):
        load(tmp_path / "latin")


def test_secrets_are_in_no_text(tmp_path: Path) -> None:
    config = load(None, {"server.requirepass": "hunter2"})
    assert "hunter2" not in repr(config)
    for raw in (["hunter2"], {"a": "hunter2"}):
        with pytest.raises(ConfigError) as caught:
            changed(config, {"server.requirepass": raw})
        assert "hunter2" not in str(caught.value)


def test_changed_checks_as_loading_does() -> None:
    config = load(None)
    other = changed(config, {"webhooks.delivery.timeout_ms": 100, "server.maxmemory": "1mb"})
    assert (other.webhooks.delivery.timeout_ms, other.server.maxmemory) == (100, 1 << 20)
    assert config == Config()
    with pytest.raises(ConfigError, match="shorter"):
        changed(config, {"webhooks.delivery.max_retry_delay_ms": 1})


def test_redis_names_are_found() -> None:
    assert REDIS_NAMES["appendfsync"].name == "journal.fsync"
    assert REDIS_NAMES["maxmemory"].live and not REDIS_NAMES["databases"].live
    assert len(REDIS_NAMES) == len([key for key in KEYS.values() if key.redis]), "no name twice"


def test_a_text_means_what_its_key_is() -> None:
    assert parse(KEYS["server.maxmemory"], "1k") == 1000
    assert parse(KEYS["journal.enabled"], "YES") is True
    assert parse(KEYS["webhooks.security.allowed_hosts"], "a,b c") == ("a", "b", "c")
    assert parse(KEYS["webhooks.security.allowed_hosts"], "") == ()
    with pytest.raises(ValueError, match="expected seconds"):
        parse(KEYS["server.timeout"], "soon")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("5b", 5),
        ("1K", 1000),
        ("1kb", 1024),
        ("2MB", 2 << 20),
        ("3g", 3 * 10**9),
        (" 1gb ", 1 << 30),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1.5mb", "mb", "1tb", "1" * 30, "١"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number of bytes"):
        parse_size(text)


def test_output_buffer_limits() -> None:
    assert output_buffer_limits("slave 1mb 2k 3 pubsub 0 0 0") == {
        "replica": (1 << 20, 2000, 3),
        "pubsub": (0, 0, 0),
    }


def test_a_config_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load(None).server.port = 1  # type: ignore[misc]


def test_every_key_is_used_somewhere() -> None:
    """By Redis's name through Engine.settings, or by its section and name through the Config."""
    package = EXAMPLE.parent / "ferrite_hooks"
    skipped = {package / "config.py", package / "config_keys.py", package / "config_rewrite.py"}
    source = "\n".join(file.read_text() for file in package.rglob("*.py") if file not in skipped)
    source = re.sub(r"ALIASES = \{.*?\n\}", "", source, flags=re.S)

    def used(name: str, redis: str) -> bool:
        section, _, leaf = name.rpartition(".")
        owner = section.rpartition(".")[2]
        by_path = rf"\b({owner}|config|_config|settings)(\(\w*\))?\.{leaf}\b"
        return bool(re.search(by_path, source)) or f'"{redis or name}"' in source

    unused = {key.name for key in KEYS.values() if not used(key.name, key.redis)}
    assert unused == set()
