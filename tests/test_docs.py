"""What must be documented is documented, and what is documented is true.

Names are read from the code, so whoever adds a command, an option, an event or a metric is told here what is
missing. Snippets behind a `<!-- tested: name -->` line run as they stand, on a real server where they need one.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.machinery
import importlib.util
import io
import json
import re
import shlex
import subprocess
import sys
import textwrap
import threading
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis
from aiohttp.test_utils import unused_port
from blocking_receiver import BlockingReceiver
from multidict import CIMultiDict
from oracle import Oracle
from process import ServerProcess
from receiver import Received

import ferrite_hooks.commands  # noqa: F401  (declares them)
from ferrite_hooks import cli
from ferrite_hooks.config import KEYS
from ferrite_hooks.engine.command import all_commands
from ferrite_hooks.version import __version__
from ferrite_hooks.webhooks.conditions import OPERATORS
from ferrite_hooks.webhooks.events import ALIASES, KNOWN, SYSTEM_EVENTS
from ferrite_hooks.webhooks.options import OPTIONS
from ferrite_hooks.webhooks.sign import SCHEMES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/commands.md")


def section(title: str) -> str:
    """A section of the README with the sections inside it."""
    level, _, rest = README.partition(f" {title}\n")
    marks = level.rpartition("\n")[2]
    assert rest and set(marks) == {"#"}, f"README has no section {title!r}"
    return re.split(rf"^#{{1,{len(marks)}}} ", rest, maxsplit=1, flags=re.M)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows; an escaped bar does not end a cell."""
    lines = (line for line in text.splitlines() if line.startswith("| "))
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def snippet(name: str) -> str:
    """The code block behind `<!-- tested: name -->`."""
    found = re.findall(rf"<!-- tested: {name} -->\n```\w+\n(.*?)^```", README, re.S | re.M)
    assert len(found) == 1, f"README: expected one snippet '<!-- tested: {name} -->'"
    return str(found[0])


def tool(name: str) -> ModuleType:
    """A Python script of tools/ as a module."""
    path = str(ROOT / "tools" / name)
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), path)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


# --- everything is documented -------------------------------------------------------------------------------


def test_the_generated_tables_are_current() -> None:
    assert tool("readme-tables").filled(README) == README, "run: python tools/readme-tables"
    comparison = (ROOT / "docs" / "commands.md").read_text("utf-8")
    assert tool("readme-tables").comparison() == comparison, "run: python tools/readme-tables"


def test_the_list_of_redis_commands_is_that_of_redis_server(oracle: Oracle) -> None:
    def flat(infos: list[Any]) -> Iterator[tuple[str, int]]:
        for info in infos:
            yield info[0].decode(), info[1]
            yield from flat(info[9])

    listed = {name: arity for _, name, _, arity in tool("readme-tables").redis_commands()}
    with redis.Redis(port=oracle.socket.getpeername()[1]) as client:
        client.set_response_callback("COMMAND", lambda reply, **_: reply)
        real = dict(flat(client.execute_command("COMMAND")))
    assert len(real) > 360
    newer = {"client|no-touch", "client|setinfo", "cluster|myshardid", "waitaof"}
    assert {name for name in listed if name not in real and not name.startswith("sentinel")} == newer
    changed = {name for name, arity in real.items() if listed.get(name) != arity}
    assert changed == {"command|getkeys", "command|getkeysandflags", "zrank", "zrevrank"}


def test_what_is_said_of_single_commands_is_about_commands_that_exist() -> None:
    names = {name for _, name, *_ in tool("readme-tables").redis_commands()}
    for table in (tool("readme-tables").NOTES, tool("readme-tables").DETAILS):
        for note, words in table.items():
            assert note.startswith("newer") or set(words.split()) <= names, note


def test_every_webhook_command_has_a_row() -> None:
    documented = {row[0].strip("`").split()[0] for row in rows(section("WEBHOOK commands"))[1:]}
    assert documented == {made.name.upper() for made in all_commands() if made.group == "webhook"}


def test_every_option_has_a_row_with_its_default() -> None:
    table = {row[0].strip("`").split()[0]: row[1] for row in rows(section("Options of CREATE and UPDATE"))[1:]}
    assert table.keys() == OPTIONS.keys()
    cells = "\n".join(table.values())
    configured = {key: default for default, key in re.findall(r"^`(\w+)` \(`([\w.]+)`\)", cells, re.M)}
    assert len(configured) >= 9
    assert configured == {name: str(KEYS[name].default) for name in configured}


def test_every_operator_of_when_is_named() -> None:
    assert all(f"`{operator}`" in section("Options of CREATE and UPDATE") for operator in OPERATORS)


def test_every_event_is_named() -> None:
    words = set(re.findall(r"[@*\w.-]+", section("Events")))
    spelled = words | {word.upper() for word in words} | {f"@{word}" for word in words}
    assert set(KNOWN) - spelled == set()
    assert set(SYSTEM_EVENTS) - words == set()
    assert {name for name in ALIASES if name not in ("RENAME_TO", "FLUSHALL")} - spelled == set()


def test_every_signature_header_is_named() -> None:
    assert all(f"`{header}`" in section("The request") for header in SCHEMES)


def test_every_configuration_key_is_in_the_example_and_every_key_named_anywhere_exists() -> None:
    example = tomllib.loads((ROOT / "config.example.toml").read_text("utf-8"))

    def has(name: str) -> bool:
        value: Any = example
        for part in name.split("."):
            value = value.get(part, None) if isinstance(value, dict) else None
        return value is not None

    assert [name for name in KEYS if not has(name)] == []
    sections = "|".join({name.partition(".")[0] for name in KEYS})
    named = set(re.findall(rf"`((?:{sections})\.[a-z_.]+[a-z_])(?: = \S+)?`", README)) - set(SYSTEM_EVENTS)
    assert len(named) > 10 and named <= KEYS.keys()


def test_every_flag_that_is_named_exists() -> None:
    known = set(re.findall(r"--[a-z-]+", cli._parser().format_help()))
    named = set(re.findall(r"`(--[a-z-]+)", README)) | set(re.findall(r"ferrite-hooks (--[a-z-]+)", README))
    assert len(named) > 5 and named <= known


def test_what_redis_has_and_we_have_not_is_listed(redis_port: int) -> None:
    with redis.Redis(port=redis_port) as client:
        client.response_callbacks.clear()
        theirs = {row[0].decode() for row in client.execute_command("COMMAND")}
    missing = theirs - {made.name for made in all_commands()}
    listed = README.split("<!-- missing commands")[1].split("<!-- end -->")[0]
    assert {name.lower() for name in re.findall(r"`([A-Z_-]+)`", listed)} - {"cluster", "module", "list"} == missing


# --- metrics ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("docs") / "data", metrics=True) as running:
        yield running


def test_every_metric_of_a_running_server_is_named_and_the_rules_use_no_other(server: ServerProcess) -> None:
    import urllib.request

    with server.client() as client:
        client.execute_command("WEBHOOK.CREATE", "measured", "http://127.0.0.1:1/")
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics") as response:
        text = response.read().decode()
    scraped = set(re.findall(r"^# TYPE (\S+)", text, re.M))
    named = set(re.findall(r"`(ferrite_\w+)`", section("Metrics")))
    assert len(scraped) > 20 and scraped <= named
    rules = (ROOT / "deploy" / "prometheus-rules.yml").read_text("utf-8")
    used = set(re.findall(r"\b(ferrite_\w+)", rules))
    assert used and used <= named
    example = re.findall(r"```yaml\n(.*?)```", section("Metrics"), re.S)[0]
    flat = [line.strip() for line in rules.splitlines()]
    assert all(line.strip() in flat for line in example.splitlines())


# --- snippets -----------------------------------------------------------------------------------------------


def test_every_python_snippet_is_python() -> None:
    texts = [(ROOT / name).read_text("utf-8") for name in DOCUMENTS]
    blocks = [block for text in texts for block in re.findall(r"^ *```python\n(.*?)^ *```", text, re.S | re.M)]
    assert len(blocks) >= 6
    for block in blocks:
        code = textwrap.dedent(block)
        ast.parse(code)


def test_the_quick_start(tmp_path: Path) -> None:
    port = unused_port()
    listener = subprocess.Popen(
        [sys.executable, "-m", "ferrite_hooks", "listen", "--port", str(port), "--secret", "s3cret"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    watchdog = threading.Timer(60, listener.kill)
    watchdog.start()
    try:
        assert listener.stderr is not None and listener.stdout is not None
        assert listener.stderr.readline() == f"listening on http://127.0.0.1:{port}/  (Ctrl-C ends)\n"
        with ServerProcess(tmp_path / "data") as server:
            for command, reply in re.findall(r"^\$ (redis-cli .*)\n(.*)\n", snippet("quickstart"), re.M):
                words = shlex.split(command.replace("127.0.0.1:8000", f"127.0.0.1:{port}"))
                words[1:1] = ["-p", str(server.port), "--no-raw"]
                done = subprocess.run(words, capture_output=True, text=True, timeout=30)
                assert done.stdout.rstrip("\n") == reply, command
            expected = snippet("quickstart-output").splitlines()
            lines = [listener.stdout.readline().rstrip("\n") for _ in expected]
    finally:
        listener.terminate()
        listener.communicate(timeout=10)
        watchdog.cancel()
    assert by_key(lines) == by_key(expected)


def by_key(lines: list[str]) -> dict[str, list[str]]:
    """What listen has printed, without the time; only lines of one key have an order."""
    found = defaultdict(list)
    for line in lines:
        _, event, key, *rest = line.split(None, 3)
        found[key].append(" ".join((event, *rest)))
    return dict(found)


def test_the_example_in_python(server: ServerProcess) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        namespace: dict[str, Any] = {}
        exec(snippet("redis-py").replace("6379", str(server.port)), namespace)
        namespace["r"].close()
    [promised] = re.findall(r"This prints `(.*?)`", README)
    assert printed.getvalue() == f"{promised}\n"


@pytest.fixture(scope="module")
def delivery(server: ServerProcess) -> Received:
    """A signed request as a receiver got it."""
    with BlockingReceiver() as receiver, server.client() as client:
        words = ("SECRET", "s3cret", "EVENTS", "ZADD")
        client.execute_command("WEBHOOK.CREATE", "signed", receiver.url("/signed"), *words)
        client.zadd("çedilla", {"10": 1.5, "2": 3})
        [request] = receiver.wait(1, path="/signed")
        client.execute_command("WEBHOOK.DELETE", "signed")
    return request


def in_python(name: str) -> Callable[[bytes, Any], bool]:
    namespace: dict[str, Any] = {}
    exec(snippet(name), namespace)
    if "verify" in namespace:
        return lambda body, headers: bool(namespace["verify"](body, headers, "s3cret"))
    return lambda body, headers: bool(namespace["receive"](body, headers) == 200)


def in_node(body: bytes, headers: Any) -> bool:
    given = json.dumps({"body": body.hex(), "headers": {name.lower(): value for name, value in headers.items()}})
    program = snippet("verify-node") + (
        "const given = JSON.parse(require('node:fs').readFileSync(0));"
        "console.log(verify(Buffer.from(given.body, 'hex'), given.headers, 's3cret'));"
    )
    done = subprocess.run(["node", "-e", program], input=given, capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    return {"true\n": True, "false\n": False}[done.stdout]


VERIFIERS: dict[str, Callable[[], Callable[[bytes, Any], bool]]] = {
    "the package": lambda: in_python("verify-python"),
    "python by hand": lambda: in_python("verify-python-by-hand"),
    "node": lambda: in_node,
}


@pytest.mark.parametrize("name", VERIFIERS)
def test_the_verifiers_take_a_real_delivery_and_nothing_else(name: str, delivery: Received) -> None:
    verify, headers = VERIFIERS[name](), CIMultiDict(delivery.headers)
    assert verify(delivery.body, headers)
    assert not verify(delivery.body + b" ", headers)
    assert not verify(delivery.body, CIMultiDict())
    for forged in ("sha256=00", "sha256=" + "é" * 64, headers["X-Ferrite-Signature"].upper()):
        headers["X-Ferrite-Signature"] = forged
        assert not verify(delivery.body, headers)


# --- links and versions -------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """What a `#link` may name: headings in lower case, words joined by dashes."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        assert not path or (ROOT / path).exists(), f"{name}: {target}"
        if anchor:
            assert anchor in anchors((ROOT / path).read_text("utf-8") if path else text), f"{name}: {target}"


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert versions[0] == __version__
    assert f"ferrite-hooks/{__version__}" in README
