"""redis-cli and redis-benchmark against the running server, and the commands of the Ferrite document typed in."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blocking_receiver import BlockingReceiver
from oracle import Wire
from process import ServerProcess, free_port
from receiver import Received
from terminal import Terminal

DOCUMENTED_STATS = [
    "total_webhooks", "active_webhooks", "total_deliveries", "successful_deliveries", "failed_deliveries",
    "pending_deliveries", "avg_latency_ms",
]  # fmt: skip

Cli = Callable[..., str]


@pytest.fixture
def cli(server: ServerProcess, tmp_path: Path) -> Cli:
    """Runs redis-cli: options and words, or one line as it is typed into a shell. Returns what it prints."""

    def run(*words: str, typed: str | bytes = "", ok: bool = True) -> str:
        if len(words) == 1:
            words = tuple(shlex.split(words[0]))
        done = subprocess.run(
            ["redis-cli", "-p", str(server.port), *words],
            input=typed.encode() if isinstance(typed, str) else typed,
            capture_output=True, timeout=15, env={**os.environ, "HOME": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0 or not ok, done
        return (done.stdout + done.stderr).decode()

    return run


@pytest.fixture
def prompt(server: ServerProcess) -> str:
    return f"127.0.0.1:{server.port}> "


@pytest.fixture
def terminal(server: ServerProcess, tmp_path: Path, prompt: str) -> Iterator[Terminal]:
    """redis-cli as a person uses it: with a prompt, hints and help."""
    with Terminal(["redis-cli", "-p", str(server.port)], {"HOME": str(tmp_path)}) as made:
        made.expect(prompt)
        yield made


# --- forms of output ----------------------------------------------------------------------------------------


def test_plain(cli: Cli) -> None:
    assert cli("SET k 'hello world'") == "OK\n"
    assert cli("GET k") == "hello world\n"
    assert cli("GET none") == "\n"
    assert cli("INCR k", ok=False).startswith("ERR value is not an integer or out of range")
    assert cli("-n 5 DBSIZE") == "0\n"
    assert cli("RPUSH l a b c") == "3\n"
    assert cli("--no-raw LRANGE l 0 -1") == '1) "a"\n2) "b"\n3) "c"\n'
    assert cli("--raw LRANGE l 0 -1") == "a\nb\nc\n"
    assert cli("--csv LRANGE l 0 -1") == '"a","b","c"\n'
    assert cli("-d , LRANGE l 0 -1") == "a,b,c\n"
    assert cli("-r", "3", "INCR", "n") == "1\n2\n3\n"
    assert cli("-e NOSUCH", ok=False).startswith("ERR unknown command 'NOSUCH'")
    assert cli("-x", "SET", "stdin", typed="from stdin") == "OK\n"
    assert cli("GET stdin") == "from stdin\n"


def test_resp3(cli: Cli) -> None:
    cli("HSET h a 1 b 2")
    assert cli("-3 --no-raw HGETALL h") == '1# "a" => "1"\n2# "b" => "2"\n'
    cli("SADD s x")
    assert cli("-3 --no-raw SMEMBERS s") == '1~ "x"\n'
    cli("ZADD z 1.5 m")
    assert cli("-3 --no-raw ZSCORE z m") == "(double) 1.5\n"
    assert cli("-3 --json HGETALL h") == '{"a":"1","b":"2"}\n'
    assert cli("--json ZRANGE z 0 -1 WITHSCORES") == '[["m",1.5]]\n'
    assert cli("--json GET none") == "null\n"
    assert cli("--json XINFO STREAM none", ok=False) == 'error:"ERR no such key"\n'


def test_webhooks_as_json(cli: Cli) -> None:
    assert cli("--json WEBHOOK.LIST") == "[]\n"
    cli("WEBHOOK.CREATE orders https://api.example.com/webhook PATTERN 'order:*' EVENTS SET DEL AUTH bearer t0ken")
    cli("WEBHOOK.CREATE two https://api.example.com/two PATTERN a* PATTERN b* HEADER X-Key hidden SECRET shh")
    assert json.loads(cli("--json WEBHOOK.LIST")) == [
        {"name": "orders", "url": "https://api.example.com/webhook", "pattern": "order:*",
         "events": ["SET", "DEL"], "status": "active"},
        {"name": "two", "url": "https://api.example.com/two", "pattern": ["a*", "b*"],
         "events": ["*"], "status": "active"},
    ]  # fmt: skip
    info = json.loads(cli("--json WEBHOOK.INFO two"))
    assert (info["secret"], info["headers"], info["deliveries"]) == ("set", {"X-Key": "set"}, 0)
    assert list(json.loads(cli("--json WEBHOOK.STATS")))[:7] == DOCUMENTED_STATS
    for line in ("WEBHOOK.INFO orders", "WEBHOOK.INFO two", "SLOWLOG GET", "WEBHOOK.DEAD two", "WEBHOOK.STATS two"):
        shown = cli("--json " + line) + cli(line)
        assert not any(secret in shown for secret in ("t0ken", "hidden", "shh"))


def test_inline_commands(cli: Cli, server: ServerProcess) -> None:
    wire = Wire(server.port)
    wire.send(b'SET "a key" "with \\x00 and \\n"\r\nGET \'a key\'\nPING\r\n\r\nGET "unbalanced\r\n')
    assert wire.read() == b"+OK\r\n"
    assert wire.read() == b"$12\r\nwith \x00 and \n\r\n"
    assert wire.read() == b"+PONG\r\n"
    assert wire.read().startswith(b"-ERR Protocol error: unbalanced quotes")
    wire.socket.close()


# --- modes --------------------------------------------------------------------------------------------------


def test_mass_insertion(cli: Cli) -> None:
    commands = b"".join(
        b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$1\r\nv\r\n" % (len(key), key)
        for key in (b"key:%d" % number for number in range(50_000))
    )
    shown = cli("--pipe", typed=commands + b"*2\r\n$4\r\nINCR\r\n$5\r\nkey:1\r\n", ok=False)
    assert "errors: 1, replies: 50001" in shown, shown
    assert cli("DBSIZE") == "50000\n"


def test_scan_modes(cli: Cli) -> None:
    lines = [f"SET user:{number} {'x' * (number + 1)}" for number in range(500)]
    lines += ["RPUSH list a b c", "HSET hash f v", "SADD set m", "ZADD zset 1 m 2 n", "XADD stream * f v"]
    cli("-n", "0", typed="\n".join(lines) + "\n")
    assert sorted(cli("--scan --pattern user:1?").split()) == sorted(f"user:{n}" for n in range(10, 20))
    assert cli("--scan --pattern none*") == ""
    big = cli("--bigkeys")
    assert re.search(r"Biggest string found '\"user:499\"' has 500 bytes", big), big
    assert "Biggest   list found '\"list\"' has 3 items" in big
    assert "Biggest   zset found '\"zset\"' has 2 members" in big
    assert "1 streams with 1 entries" in big
    memory = cli("--memkeys")
    assert re.search(r"Biggest string found '\"user:499\"' has \d+ bytes", memory), memory
    assert "Sampled 505 keys in the keyspace!" in memory


def test_hot_keys(cli: Cli) -> None:
    cli("CONFIG SET maxmemory-policy allkeys-lfu")
    try:
        cli("MSET cold 1 hot 1")
        cli("-r", "200", "GET", "hot")
        assert re.search(r"hot key found with counter: \d+\s+keyname: \"hot\"", cli("--hotkeys"))
    finally:
        cli("CONFIG SET maxmemory-policy noeviction")


def test_script_file(cli: Cli, tmp_path: Path) -> None:
    script = tmp_path / "script.lua"
    script.write_text("return {KEYS[1], ARGV[1], redis.call('SET', KEYS[1], ARGV[1])}")
    assert cli("--eval", str(script), "k", ",", "v") == "k\nv\nOK\n"


def test_url_and_user(cli: Cli, server: ServerProcess) -> None:
    cli("ACL SETUSER tester on >pass ~* +@all")
    try:
        address = f"127.0.0.1:{server.port}"
        assert cli("-u", f"redis://tester:pass@{address}/3", "--no-auth-warning", "ACL", "WHOAMI") == "tester\n"
        assert cli("--user tester --pass pass --no-auth-warning -n 3 CLIENT INFO").count(" db=3 ") == 1
        assert "WRONGPASS" in cli("--user tester --pass wrong --no-auth-warning PING", ok=False)
    finally:
        cli("ACL DELUSER tester")


def test_watching_modes(server: ServerProcess, tmp_path: Path, cli: Cli) -> None:
    cli("SET k v")
    home = {"HOME": str(tmp_path)}
    with Terminal(["redis-cli", "-p", str(server.port), "--stat", "-i", "0.05"], home) as stat:
        stat.expect("keys       mem      clients blocked requests")
        assert re.search(r"\n1 +\d[\d.]*[BKMG] +\d+ +0 +\d+ \(\+\d+\)", stat.expect("(+1)"))
    with Terminal(["redis-cli", "-p", str(server.port), "--latency"], home) as latency:
        latency.expect("min: 0, max: ")
        latency.expect("samples)")
    with Terminal(["redis-cli", "-p", str(server.port), "--latency-history", "-i", "0.2"], home) as history:
        history.expect("seconds range")


def test_monitor(server: ServerProcess, tmp_path: Path, cli: Cli) -> None:
    with Terminal(["redis-cli", "-p", str(server.port), "MONITOR"], {"HOME": str(tmp_path)}) as monitor:
        monitor.expect("OK")
        cli("SET", "k", 'a "quoted" \\ value\n')
        cli("WEBHOOK.CREATE w https://example.com/ SECRET verysecret")
        cli("PING end")
        shown = monitor.expect('"PING" "end"')
    assert re.search(r'\d+\.\d{6} \[0 127\.0\.0\.1:\d+\] "SET" "k" "a \\"quoted\\" \\\\ value\\n"', shown), shown
    assert "verysecret" not in shown


def test_subscribe(server: ServerProcess, tmp_path: Path, cli: Cli) -> None:
    cli("CONFIG SET notify-keyspace-events KEA")
    words = ["redis-cli", "-p", str(server.port), "--csv", "PSUBSCRIBE", "__keyevent@*"]
    with Terminal(words, {"HOME": str(tmp_path)}) as subscriber:
        subscriber.expect('"psubscribe","__keyevent@*",1')
        cli("SET k v")
        subscriber.expect('"pmessage","__keyevent@*","__keyevent@0__:set","k"')


# --- at the prompt ------------------------------------------------------------------------------------------


def test_help(terminal: Terminal, prompt: str) -> None:
    shown = terminal.enter("help @webhook", prompt)
    for name in ("CREATE", "DELETE", "DELIVERIES", "EMIT", "INFO", "LIST", "REPLAY", "ROTATE", "STATS", "TEST"):
        assert f"  WEBHOOK.{name} " in shown
    shown = terminal.enter("help webhook.create", prompt)
    assert "name url [PATTERN glob [PATTERN glob ...]] [EVENTS event [event ...]]" in shown
    assert "[HEADER name value [HEADER name value ...]]" in shown
    assert "group: webhook" in shown
    assert "key value [NX|XX] [GET] [EX seconds|" in terminal.enter("help set", prompt)


def test_hints_and_completion(terminal: Terminal, prompt: str) -> None:
    terminal.type("webhook.li")
    terminal.type("\t")
    terminal.expect("WEBHOOK.LIST [PATTERN glob] [STATUS ACTIVE|PAUSED|DISABLED]")
    assert terminal.enter("", prompt) == "(empty array)\n"
    terminal.type("webhook.test ")
    terminal.expect("webhook.test name")
    assert terminal.enter("none", prompt) == "(error) ERR no such webhook 'none'\n"


def test_transaction_and_database_in_the_prompt(terminal: Terminal, server: ServerProcess) -> None:
    prompt = f"{server.port}[3]> "
    assert terminal.enter("select 3", prompt).startswith("OK\n")
    terminal.enter("multi", "(TX)> ")
    assert terminal.enter("incr n", "(TX)> ").startswith("QUEUED\n")
    assert terminal.enter("exec", prompt).startswith("1) (integer) 1\n")
    assert '"proto" => (integer) 3' in terminal.enter("hello 3", prompt)
    assert terminal.enter("blpop none 0.05", prompt).startswith("(nil)\n")


# --- the Ferrite document -----------------------------------------------------------------------------------

QUICK_START = """
WEBHOOK.CREATE order-updates https://api.example.com/webhook PATTERN 'order:*' EVENTS SET DEL
WEBHOOK.TEST order-updates
WEBHOOK.LIST
"""
CREATING = """
WEBHOOK.CREATE my-webhook https://api.example.com/hook
WEBHOOK.CREATE user-updates https://api.example.com/users PATTERN 'user:*'
WEBHOOK.CREATE changes https://api.example.com/changes EVENTS SET DEL EXPIRE
WEBHOOK.CREATE all-changes https://example.com/hook EVENTS SET DEL EXPIRE RENAME
WEBHOOK.CREATE users https://example.com/users PATTERN 'user:*'
WEBHOOK.CREATE config https://example.com/config PATTERN 'config:app'
WEBHOOK.CREATE orders https://example.com/orders PATTERN 'order:*:items'
WEBHOOK.CREATE reliable https://api.example.com/hook RETRIES 5 RETRY_DELAY 1000 RETRY_BACKOFF exponential
WEBHOOK.CREATE order-created https://orders.example.com/new PATTERN 'order:*' EVENTS SET
WEBHOOK.CREATE cache-invalidate https://cdn.example.com/purge PATTERN 'content:*' EVENTS SET DEL
WEBHOOK.CREATE live-updates https://websocket.example.com/push PATTERN 'chat:*' EVENTS SET LPUSH
WEBHOOK.CREATE audit-log https://audit.example.com/log EVENTS SET DEL EXPIRE RENAME BATCH true BATCH_SIZE 100
"""
AUTHENTICATION = {  # -> the header that must arrive
    "AUTH bearer mytoken123": ("authorization", "Bearer mytoken123"),
    "AUTH basic user:pass": ("authorization", "Basic dXNlcjpwYXNz"),
    "HEADER X-API-Key mysecretkey": ("x-api-key", "mysecretkey"),
    "SECRET mysecretkey": ("x-ferrite-signature", "sha256="),
}
MANAGING = """
WEBHOOK.UPDATE order-updates URL https://new.example.com/webhook
WEBHOOK.UPDATE order-updates EVENTS SET DEL EXPIRE
WEBHOOK.UPDATE order-updates PATTERN 'order:v2:*'
WEBHOOK.DISABLE order-updates
WEBHOOK.ENABLE order-updates
"""


def to_loopback(line: str, receiver: BlockingReceiver) -> str:
    """A line of the document with its host replaced by the receiver's."""
    return re.sub(r"https://[a-z.]+example\.com/|https://example\.com/", receiver.url("/"), line)


def lines_of(text: str, receiver: BlockingReceiver) -> list[str]:
    return [to_loopback(line, receiver) for line in text.strip().splitlines()]


def events_of(requests: list[Received]) -> list[tuple[str, str]]:
    bodies = [json.loads(request.body) for request in requests]
    return [(body["event"], body["key"]) for body in bodies]


def test_quick_start_at_the_prompt(terminal: Terminal, prompt: str, receiver: BlockingReceiver, cli: Cli) -> None:
    create, test, listing = lines_of(QUICK_START, receiver)
    assert terminal.enter(create, prompt) == "OK\n"
    shown = terminal.enter(test, prompt)
    assert re.search(r'"status"\n.*"delivered"', shown), shown
    assert re.search(r'"http_status"\n.*\(integer\) 200', shown), shown
    (tested,) = receiver.wait(1)
    assert tested.headers["x-ferrite-webhook"] == "order-updates"
    shown = terminal.enter(listing, prompt)
    for word in ("order-updates", receiver.url("/webhook"), "order:*", "SET", "DEL", "active"):
        assert f'"{word}"' in shown
    cli("SET order:1 new")
    cli("SET user:1 not-this-one")
    cli("DEL order:1")
    requests = receiver.wait(3)
    assert events_of(requests[1:]) == [("SET", "order:1"), ("DEL", "order:1")]


def test_creating_webhooks(cli: Cli, receiver: BlockingReceiver) -> None:
    for line in lines_of(CREATING, receiver):
        assert cli(line) == "OK\n", line
    assert len(json.loads(cli("--json WEBHOOK.LIST"))) == len(CREATING.strip().splitlines())
    for line in (
        "SET content:1 x", "LPUSH chat:1 hello", "SET config:app on", "SET config:other off", "RPUSH order:7:items i",
        "HSET user:1 name Alice", "SET gone soon PX 1", "RENAME content:1 content:2",
    ):  # fmt: skip
        cli(line)
    assert events_of(receiver.wait(1, path="/purge")) == [("SET", "content:1")]
    assert events_of(receiver.wait(1, path="/push")) == [("LPUSH", "chat:1")]
    assert events_of(receiver.wait(1, path="/config")) == [("SET", "config:app")]
    assert events_of(receiver.wait(1, path="/orders")) == [("RPUSH", "order:7:items")]
    assert set(events_of(receiver.wait(2, path="/users"))) == {("HSET", "user:1")}
    assert ("EXPIRE", "gone") in events_of(receiver.wait(5, path="/changes"))
    (batch,) = receiver.wait(1, path="/log")
    body = json.loads(batch.body)
    assert batch.headers["x-ferrite-event"] == "batch"
    assert body["count"] == len(body["events"]) > 1
    info = json.loads(cli("--json WEBHOOK.INFO reliable"))
    assert (info["retries"], info["retry_delay"], info["retry_backoff"]) == (5, 1000, "exponential")


@pytest.mark.parametrize("option", AUTHENTICATION)
def test_authentication(cli: Cli, receiver: BlockingReceiver, option: str) -> None:
    assert cli(to_loopback(f"WEBHOOK.CREATE secure https://api.example.com/hook {option}", receiver)) == "OK\n"
    cli("SET k v")
    (request,) = receiver.wait(1)
    header, value = AUTHENTICATION[option]
    assert request.headers[header].startswith(value)


def test_managing_webhooks(cli: Cli, receiver: BlockingReceiver) -> None:
    create, *_ = lines_of(QUICK_START, receiver)
    cli(create)
    cli("SET order:1 v")
    receiver.wait(1, path="/webhook")
    info = settled(cli)
    assert {"name": "order-updates", "url": receiver.url("/webhook"), "pattern": "order:*", "events": ["SET", "DEL"],
            "status": "active", "deliveries": 1, "failures": 0}.items() <= info.items()  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", info["created_at"])
    assert info["last_delivery"] >= info["created_at"]
    (delivered,) = json.loads(cli("--json WEBHOOK.DELIVERIES order-updates COUNT 10"))
    assert (delivered["status"], delivered["http_status"], delivered["attempt"]) == ("delivered", 200, 1)
    for line in lines_of(MANAGING, receiver):
        assert cli(line) == "OK\n", line
        status = json.loads(cli("--json WEBHOOK.LIST"))[0]["status"]
        assert status == ("disabled" if "DISABLE" in line else "active")
    (listed,) = json.loads(cli("--json WEBHOOK.LIST"))
    assert (listed["pattern"], listed["events"]) == ("order:v2:*", ["SET", "DEL", "EXPIRE"])
    stats = json.loads(cli("--json WEBHOOK.STATS order-updates"))
    assert [stats[name] for name in DOCUMENTED_STATS[:6]] == [1, 1, 1, 1, 0, 0]
    assert cli("WEBHOOK.DELETE order-updates") == "1\n"
    assert cli("--json WEBHOOK.LIST") == "[]\n"


def settled(cli: Cli) -> dict[str, object]:
    """INFO of order-updates once its delivery is counted: the receiver knows before the server does."""
    deadline = time.monotonic() + 10
    while True:
        info: dict[str, object] = json.loads(cli("--json WEBHOOK.INFO order-updates"))
        if info["deliveries"]:
            return info
        assert time.monotonic() < deadline, info


def test_testing_a_dead_endpoint(cli: Cli, receiver: BlockingReceiver) -> None:
    cli(f"WEBHOOK.CREATE nobody http://127.0.0.1:{free_port()}/")
    result = json.loads(cli("--json WEBHOOK.TEST nobody"))
    assert result["status"] == "failed" and "refused" in result["error"].lower(), result


# --- redis-benchmark ----------------------------------------------------------------------------------------


def test_benchmark_runs_through(server: ServerProcess) -> None:
    runs = {20: ["-n", "1000"], 4: ["-n", "5000", "-P", "16", "-r", "1000", "-3", "-t", "set,get,hset,zadd"]}
    for count, extra in runs.items():
        done = subprocess.run(
            ["redis-benchmark", "-p", str(server.port), "-q", *extra], capture_output=True, text=True, timeout=20
        )
        assert done.returncode == 0, done
        assert "error" not in (done.stdout + done.stderr).lower().replace("keep-alive", ""), done
        assert done.stdout.count("requests per second") == count, done.stdout
