"""ACL: rules and their wording compared with redis-server where both say the same, permissions by what they do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fakes import Client, Harness
from oracle import Oracle, Pair, Wire

from ferrite_hooks.engine.command import COMMANDS
from ferrite_hooks.engine.settings import change
from ferrite_hooks.errors import ReplyError


def login(harness: Harness, *rules: str) -> Client:
    """A client of a new user `u` with these rules."""
    assert harness.client("ACL", "SETUSER", "u", "on", "nopass", *rules).text == b"OK"
    client = harness.connect()
    client("AUTH", "u", "any")
    return client


def refused(client: Client, *words: str) -> str:
    reply = client(*words)
    return reply.text if isinstance(reply, ReplyError) else ""


def without_payload_flag(reply: bytes) -> list[bytes]:
    """A reply's parts. Redis 7.0 shows `sanitize-payload` only where it was asked for, 7.2 always."""
    parts = re.sub(rb"[$*]\d+\r\n", b"", reply.replace(b" sanitize-payload", b"")).split(b"\r\n")
    return [part for part in parts if part != b"sanitize-payload"]


def test_replies(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    digest = "c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2"
    for line in (
        "WHOAMI", "USERS", "LIST", "GETUSER nobody", "GETUSER default", "CAT x y", "CAT nothing", "GENPASS x",
        "GENPASS 0",
        "GENPASS 4097", "LOG x", "LOG RESET", "LOG", "NOPE", "SETUSER", "LOAD", "SAVE", "DELUSER default",
        "DELUSER nobody",
        "SETUSER u", "LIST", "GETUSER u", "SETUSER u on >foo", f"SETUSER u #{digest}", "SETUSER u !abc",
        "SETUSER u #ABC",
        "SETUSER u <wrong", "SETUSER u <foo", "LIST", "SETUSER u nopass", "SETUSER u resetpass", "LIST",
        "SETUSER u ~a* ~b* %R~c* %W~c* %RW~d", "LIST", "SETUSER u %X~c", "SETUSER u %~c", "SETUSER u %RR~c",
        "SETUSER u allkeys", "SETUSER u ~x", "SETUSER u resetkeys", "SETUSER u &ch1 &ch2", "LIST", "SETUSER u &*",
        "SETUSER u &x", "LIST", "SETUSER u resetchannels", "SETUSER u +get", "GETUSER u", "SETUSER u +nope",
        "SETUSER u +@nope", "SETUSER u what", "SETUSER u +client|id", "SETUSER u +client|nope",
        "SETUSER u -client|nope",
        "SETUSER u +select|0", "SETUSER u -select|0", "SETUSER u +config|get|x", "SETUSER u +select|",
        "SETUSER u reset",
        "LIST", "SETUSER u +@all", "LIST", "SETUSER u (+get ~x) (+set ~y)", "LIST", "GETUSER u", "SETUSER u (+get",
        "SETUSER u ( +get ~z )", "LIST", "SETUSER u (+nope)", "SETUSER u (%)", "SETUSER u clearselectors", "LIST",
        "SETUSER u skip-sanitize-payload", "GETUSER u", "SETUSER u reset", "LIST", "DRYRUN nobody get x",
        "DRYRUN u nope x", "DRYRUN u get", "DRYRUN default get x", "DRYRUN u auth x", "USERS", "DELUSER u nobody",
        "USERS",
    ):  # fmt: skip
        words = ("ACL", *line.split(" "))
        expected, actual = without_payload_flag(oracle(*words)), without_payload_flag(both.ours.raw(*words))
        assert actual == expected, f"{line}: redis-server {expected!r}, ours {actual!r}"
    both.check("ACL", "SETUSER", "a b", "on")
    both.check("ACL", "SETUSER", "u", "~a b")
    both.close()


def test_rules_describe_themselves(harness: Harness, client: Client) -> None:
    for rules, shown in (
        ("+get", "-@all +get"),
        ("+@all -set", "+@all -set"),
        ("+@read -get +get", "-@all +@read +get"),
        ("+client|id -client", "-@all -client"),
        ("-client +client|id", "-@all -client +client|id"),
        ("+select|0 +select|1", "-@all +select|0 +select|1"),
        ("+GET +@All", "+@all"),
        ("+@all -@dangerous +client|id", "+@all -@dangerous +client|id"),
    ):
        client("ACL", "SETUSER", "u", "reset", *rules.split())
        assert client("ACL", "GETUSER", "u")[b"commands"] == shown


def test_categories(harness: Harness, client: Client, oracle: Oracle) -> None:
    theirs = oracle("ACL", "CAT").split(b"\r\n")[2::2]
    ours = [name.encode() for name in client("ACL", "CAT")]
    assert ours == [*theirs, b"webhook"]
    for category in ("connection", "transaction", "pubsub"):
        listed = set(oracle("ACL", "CAT", category).split(b"\r\n")[2::2])
        mine = {name.encode() for name in client("ACL", "CAT", category)} - {
            b"client|setinfo", b"client|no-touch", b"waitaof",  # of 7.2
        }  # fmt: skip
        assert mine <= listed, category


def test_commands(harness: Harness) -> None:
    u = login(harness, "+get", "+client|id", "+select|1", "~*")
    assert u("GET", "k") is None and isinstance(u("CLIENT", "ID"), int)
    assert refused(u, "SET", "k", "v") == "NOPERM User u has no permissions to run the 'set' command"
    assert refused(u, "CLIENT", "LIST") == "NOPERM User u has no permissions to run the 'client|list' command"
    assert u("SELECT", 1).text == b"OK" and refused(u, "SELECT", "2")
    assert refused(u, "NOPE").startswith("ERR unknown command")


def test_a_container_covers_its_subcommands(harness: Harness) -> None:
    u = login(harness, "+client", "-client|id")
    assert u("CLIENT", "GETNAME") is None and refused(u, "CLIENT", "ID")


def test_keys(harness: Harness) -> None:
    u = login(harness, "+@all", "~rw:*", "%R~r:*", "%W~w:*")
    assert u("SET", "rw:1", "v").text == b"OK" and u("SET", "w:1", "v").text == b"OK"
    assert refused(u, "SET", "r:1", "v") == "NOPERM No permissions to access a key"
    assert u("GET", "r:1") is None and u("GETEX", "rw:1") == b"v"
    assert refused(u, "GET", "w:1") and refused(u, "GETEX", "r:1")  # GETEX may write
    assert refused(u, "SET", "other", "v") and refused(u, "SET", "w:1", "v", "GET")


def test_selectors_hold_as_a_whole(harness: Harness) -> None:
    u = login(harness, "+get", "~a", "(+set ~b)")
    assert u("GET", "a") is None and u("SET", "b", "v").text == b"OK"
    assert refused(u, "GET", "b") == "NOPERM No permissions to access a key" and refused(u, "SET", "a", "v")


def test_channels(harness: Harness) -> None:
    u = login(harness, "+@all", "&news.*")
    assert u("PUBLISH", "news.a", "x") == 0
    assert refused(u, "PUBLISH", "other", "x") == "NOPERM No permissions to access a channel"
    assert refused(u, "SUBSCRIBE", "news.a", "other") and not refused(u, "PSUBSCRIBE", "news.*")
    assert refused(u, "PSUBSCRIBE", "news.a*") and not refused(u, "PUNSUBSCRIBE", "whatever")


def test_taking_a_channel_away_closes_its_listeners(harness: Harness, client: Client) -> None:
    u = login(harness, "+@all", "&a", "&b")
    u("SUBSCRIBE", "a")
    client("ACL", "SETUSER", "u", "resetchannels", "&a")
    assert u.session.id in harness.engine.sessions
    client("ACL", "SETUSER", "u", "resetchannels", "&b")
    assert u.session.id not in harness.engine.sessions


def test_a_change_reaches_connected_clients(harness: Harness, client: Client) -> None:
    u = login(harness, "+@all", "~*", "&*")
    assert not u.session.special  # the fast path
    client("ACL", "SETUSER", "u", "-get")
    assert u.session.special and refused(u, "GET", "k")
    client("ACL", "SETUSER", "u", "+@all")
    assert not u.session.special and u("GET", "k") is None


def test_a_bad_rule_changes_nothing(client: Client) -> None:
    client("ACL", "SETUSER", "u", "on", "+get")
    before = client("ACL", "LIST")
    assert isinstance(client("ACL", "SETUSER", "u", "off", "-get", "bogus"), ReplyError)
    assert isinstance(client("ACL", "SETUSER", "new", "bogus"), ReplyError)
    assert client("ACL", "LIST") == before


def test_rules_that_changed_before_exec(harness: Harness, client: Client) -> None:
    u = login(harness, "+@all", "~*")
    u("MULTI")
    u("SET", "k", "v")
    u("GET", "k")
    client("ACL", "SETUSER", "u", "-set")
    denied, value = u("EXEC")
    assert value is None and denied.text == (
        "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command "
        "is no longer allowed for the following reason: no permission to execute the command or subcommand"
    )
    u("MULTI")
    assert refused(u, "SET", "k", "v") and refused(u, "EXEC").startswith("EXECABORT")


def test_requirepass(harness: Harness, oracle: Oracle, client: Client) -> None:
    change(harness.engine, "requirepass", "secret")
    oracle("CONFIG", "SET", "requirepass", "secret")
    try:
        theirs, ours = Wire(oracle.socket.getpeername()[1]), harness.connect()
        for line in (
            "PING", "NOPE", "GET", "HELLO 3", "AUTH wrong", "AUTH default wrong", "AUTH nobody x", "RESET", "PING",
            "AUTH secret", "PING", "AUTH wrong", "PING", "RESET", "GET k", "HELLO 2 AUTH default wrong",
            "HELLO 2 SETNAME a b",
        ):  # fmt: skip
            assert ours.raw(*line.split()) == theirs(*line.split()), line
        assert ours("HELLO", 3, "AUTH", "default", "secret")[b"proto"] == 3
        theirs.close()
    finally:
        oracle("CONFIG", "SET", "requirepass", "")
    assert client("PING").text == b"PONG"  # who was there stays
    change(harness.engine, "requirepass", "")
    assert harness.connect()("PING").text == b"PONG"


def test_disabled_users_cannot_log_in(harness: Harness, client: Client) -> None:
    client("ACL", "SETUSER", "u", "off", "nopass")
    assert refused(client, "AUTH", "u", "x").startswith("WRONGPASS")


def test_deleting_a_user_closes_its_connections(harness: Harness, client: Client) -> None:
    u = login(harness, "+@all")
    assert client("ACL", "DELUSER", "u") == 1
    assert u.session.id not in harness.engine.sessions and not u.session.authenticated
    me = login(harness, "+@all")
    assert me("ACL", "DELUSER", "u") == 1 and me.session.close_after_reply


def test_log(harness: Harness, client: Client) -> None:
    u = login(harness, "+get", "~a", "+multi")
    refused(u, "SET", "a", "v")
    harness.advance(1500)
    refused(u, "SET", "a", "v")
    refused(u, "GET", "b")
    u("MULTI")
    refused(u, "GET", "b")
    refused(client, "AUTH", "nobody", "x")
    auth, multi, key, command = client("ACL", "LOG")
    fields = (b"reason", b"context", b"object", b"username", b"count")
    told = [tuple(entry[field] for field in fields) for entry in (auth, multi, key, command)]
    assert told == [
        ("auth", "toplevel", b"AUTH", "nobody", 1), ("key", "multi", b"b", "u", 1), ("key", "toplevel", b"b", "u", 1),
        ("command", "toplevel", b"set", "u", 2),
    ]  # fmt: skip
    assert command[b"timestamp-last-updated"] - command[b"timestamp-created"] == 1500
    assert f"id={u.session.id} " in command[b"client-info"] and len(client("ACL", "LOG", 2)) == 2
    change(harness.engine, "acllog-max-len", 1)
    refused(u, "SET", "c", "v")
    assert len(client("ACL", "LOG", 100)) == 1
    client("ACL", "LOG", "RESET")
    assert client("ACL", "LOG") == []


def test_file(harness: Harness, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "users.acl"
    harness.engine.settings["aclfile"] = str(path)
    assert refused(client, "ACL",
    "LOAD") == f"ERR Error loading ACLs, opening file '{path}': No such file or directory"
    client("ACL", "SETUSER", "u", "on", ">pass", "~a:*", "+@read", "-get", "(+set ~b)")
    client("ACL", "SETUSER", "gone", "on", "nopass", "+@all")
    listed = client("ACL", "LIST")
    assert client("ACL", "SAVE").text == b"OK" and path.stat().st_mode & 0o777 == 0o600
    client("ACL", "SETUSER", "u", "+@all", "~*")
    client("ACL", "DELUSER", "gone")
    assert client("ACL", "LOAD").text == b"OK" and client("ACL", "LIST") == listed
    u, other = harness.connect(), harness.connect()
    u("AUTH", "u", "pass")
    other("AUTH", "gone", "x")
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "gone" not in line))
    client("ACL", "LOAD")
    assert u.session.id in harness.engine.sessions and other.session.id not in harness.engine.sessions


def test_a_bad_file_changes_nothing(harness: Harness, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "users.acl"
    harness.engine.settings["aclfile"] = str(path)
    before = client("ACL", "LIST")
    path.write_text("user u on +nope\nnonsense\nuser v on\nuser v on bogus\nuser w (+get\n")
    text = refused(client, "ACL", "LOAD")
    for part in (
        ":1: Error in applying operation '+nope': Unknown command or category name in ACL.",
        ":2 should start with user keyword followed by the username.",
        "WARNING: Duplicate user 'v' found on line 4.",
        ":5: Unmatched parenthesis in selector definition.",
        "no change to the previously active ACL rules was performed",
    ):
        assert part in text
    assert client("ACL", "LIST") == before


def test_dryrun_tells_what_is_missing(client: Client) -> None:
    client("ACL", "SETUSER", "u", "+set", "~a", "+publish")
    assert client("ACL", "DRYRUN", "u", "set", "a", "v").text == b"OK"
    assert client("ACL", "DRYRUN", "u", "set", "b", "v") == "User u has no permissions to access the 'b' key"
    assert client("ACL", "DRYRUN", "u", "publish", "c", "v") == "User u has no permissions to access the 'c' channel"
    assert client("ACL", "DRYRUN", "u", "get", "a") == "User u has no permissions to run the 'get' command"


_DRY = [
    *[("GET", key) for key in ("read", "write", "rw", "other")],
    *[("SET", key, "v", *more) for key in ("read", "write", "rw") for more in ((), ("GET",), ("EX", "100"))],
    *[("BITFIELD", key, *more) for key in ("read", "write", "rw") for more in
      (("GET", "u4", "0"), ("SET", "u4", "0", "1"), ("GET", "u4", "0", "INCRBY", "u4", "0", "1"))],
    *[(name, key) for name in ("STRLEN", "HLEN", "LLEN", "SCARD", "ZCARD", "XLEN", "TOUCH", "EXISTS", "TYPE")
      for key in ("read", "write", "rw", "other")],
    *[(name, key, "f") for name in ("HEXISTS", "HSTRLEN", "SISMEMBER") for key in ("read", "write", "other")],
    *[("MEMORY", "USAGE", key) for key in ("read", "write", "other")],
    *[(name, "2", key, "read") for name in ("SINTERCARD", "ZINTERCARD") for key in ("read", "write", "other")],
    *[("PFCOUNT", key, "read") for key in ("read", "write", "other")], ("ZCOUNT", "write", "0", "1"),
    ("COPY", "read", "write"), ("COPY", "write", "read"), ("LPUSH", "write", "1"), ("LPUSH", "read", "1"),
    *[("MIGRATE", "host", "1", key, "0", "500") for key in ("rw", "read", "write")],
    *[("MIGRATE", "host", "1", "", "0", "500", *more, "KEYS", key) for key in ("rw", "read", "write") for more in
      ((), ("AUTH", "KEYS"), ("AUTH2", "KEYS", "123"), ("AUTH2", "USER", "KEYS"))],
    ("SORT", "read", "STORE", "write"), ("SORT", "read", "STORE", "read"), ("SORT", "write", "STORE", "write"),
    *[(name, "", *more) for name in ("EVAL", "EVAL_RO") for more in
      (("1", "rw1"), ("1", "read"), ("0", "read"), ("-1", "read"), ("3", "rw", "rw"), ("3", "rw", "read"))],
    *[("GEORADIUS", one, "1", "1", "1", "M", *more) for one in ("read1", "write1") for more in
      ((), ("STORE", "write"), ("STORE", "read2"), ("STOREDIST", "write2"), ("STOREDIST", "read2"))],
    ("SPUBLISH", "channel", "m"), ("SPUBLISH", "else", "m"), ("SSUBSCRIBE", "channel"), ("SSUBSCRIBE", "else"),
    ("SUNSUBSCRIBE",), ("SUNSUBSCRIBE", "else"), ("PSUBSCRIBE", "channel*"), ("SET", "rw"), ("nonsense", "rw"),
]  # fmt: skip


@pytest.mark.parametrize(
    "rules",
    [
        ("+@all", "%R~read*", "%W~write*", "%RW~rw*", "&channel"),
        ("+@all", "%R~*"),
        ("(%R~read* +@all)", "(%W~write* +@all)"),
        ("-@all", "+@read", "~rw*", "(+@write", "~write*)", "(", "+get", "~other", ")"),
        ("-@all",),
    ],
)
def test_dryrun_judges_as_redis_does(oracle: Oracle, harness: Harness, rules: tuple[str, ...]) -> None:
    """OK, or the same command, key or channel named as the reason."""
    user = "dry-runner"
    try:
        both = [ask("ACL", "SETUSER", user, "reset", *rules) for ask in (oracle, harness.client.raw)]
        assert both == [b"+OK\r\n"] * 2
        for words in _DRY:
            theirs, ours = oracle("ACL", "DRYRUN", user, *words), harness.client.raw("ACL", "DRYRUN", user, *words)
            assert _reason(ours) == _reason(theirs), words
    finally:
        oracle("ACL", "DELUSER", user)


def _reason(reply: bytes) -> bytes:
    """7.2 words the refusal otherwise than 7.0: what it names, and what kind of thing that is."""
    found = re.search(rb"no permissions to \w+ the ('.*' \w+)", reply)
    return found[1] if found else reply


def test_genpass(client: Client) -> None:
    assert len(client("ACL", "GENPASS")) == 64 and len(client("ACL", "GENPASS", 5)) == 2
    assert client("ACL", "GENPASS") != client("ACL", "GENPASS")


@pytest.mark.parametrize("default", ["allchannels", "resetchannels"])
def test_channels_of_new_users(harness: Harness, client: Client, default: str) -> None:
    change(harness.engine, "acl-pubsub-default", default)
    client("ACL", "SETUSER", "u")
    assert client("ACL", "GETUSER", "u")[b"channels"] == ("&*" if default == "allchannels" else "")


def test_webhook_commands_have_their_category() -> None:
    for made in COMMANDS.values():
        assert ("webhook" in made.acl) == (made.group == "webhook") or not made.name.startswith("webhook")


def test_secrets_stay_out_of_sight(harness: Harness, client: Client) -> None:
    change(harness.engine, "slowlog-log-slower-than", 0)
    client("ACL", "SETUSER", "u", ">hunter2")
    client("AUTH", "u", "hunter2")
    assert b"hunter2" not in repr(client("SLOWLOG", "GET", -1)).encode()
    assert "hunter2" not in repr(harness.engine.acl.users["u"])
