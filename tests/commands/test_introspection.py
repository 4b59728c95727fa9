"""COMMAND INFO, DOCS, LIST and GETKEYS next to redis-server's own answers."""

from __future__ import annotations

import pytest
from fakes import Client, Harness
from oracle import Oracle, Pair

from ferrite_hooks.commands.introspection import legacy_range
from ferrite_hooks.engine.command import Command, all_commands, shown_flags

NEWER = {"zrank", "zrevrank"}  # WITHSCORE came with Redis 7.2
# from Redis 7.2 on scripts may call them; they do not wait there
IN_SCRIPTS = {"blpop", "brpop", "blmove", "brpoplpush", "bzpopmin", "bzpopmax", "wait"}


def parse(raw: bytes) -> object:
    """A RESP2 reply as Python values."""

    def value() -> object:
        nonlocal raw
        line, raw = raw.split(b"\r\n", 1)
        kind, rest = line[:1], line[1:]
        if kind == b"*":
            return [value() for _ in range(int(rest))] if int(rest) >= 0 else None
        if kind == b"$":
            size = int(rest)
            text, raw = raw[:size], raw[size + 2 :]
            return text.decode()
        return int(rest) if kind == b":" else rest.decode()

    return value()


def shared(oracle: Oracle) -> list[tuple[Command, list[object]]]:
    """Every command that both servers have, with redis-server's COMMAND INFO entry."""
    entries: dict[str, list[object]] = {}
    for entry in parse(oracle("COMMAND")):  # type: ignore[attr-defined]
        entries[entry[0]] = entry
        for sub in entry[9]:
            entries[sub[0]] = sub
    return [(made, entries[made.name]) for made in all_commands() if made.name in entries.keys() - NEWER]


def test_command_info_equals_redis(oracle: Oracle) -> None:
    wrong = []
    for made, entry in shared(oracle):
        ours = [made.arity, set(shown_flags(made)), legacy_range(made), {"@" + name for name in made.acl}]
        theirs = [entry[1], set(entry[2]), tuple(entry[3:6]), set(entry[6])]  # type: ignore[call-overload]
        if made.name in IN_SCRIPTS:
            theirs[1].remove("noscript")  # type: ignore[attr-defined]
        if ours != theirs:
            wrong.append((made.name, [(a, b) for a, b in zip(ours, theirs, strict=True) if a != b]))
    assert not wrong, "\n".join(map(str, wrong))


def test_key_specs_equal_redis(oracle: Oracle, client: Client) -> None:
    wrong = []
    for made, entry in shared(oracle):
        if made.subcommands or made.getkeys is not None:
            continue
        (ours,) = parse(client.raw("COMMAND", "INFO", made.name))  # type: ignore[misc]
        theirs = [_without_notes(spec) for spec in entry[8]]  # type: ignore[attr-defined]
        if [_normal(spec) for spec in ours[8]] != [_normal(spec) for spec in theirs]:
            wrong.append((made.name, ours[8], theirs))
    assert not wrong, "\n".join(map(str, wrong))


def _without_notes(spec: list[object]) -> list[object]:
    pairs = list(zip(spec[::2], spec[1::2], strict=True))
    return [part for pair in pairs if pair[0] != "notes" for part in pair]


def _normal(spec: list[object]) -> list[object]:
    fields = dict(zip(spec[::2], spec[1::2], strict=True))
    return [set(fields["flags"]), fields["begin_search"], fields["find_keys"]]


def test_docs_agree_on_group_and_version(oracle: Oracle) -> None:
    docs = parse(oracle("COMMAND", "DOCS"))
    facts: dict[str, dict[str, object]] = {}
    for name, entry in zip(docs[::2], docs[1::2], strict=True):  # type: ignore[index]
        facts[name] = dict(zip(entry[::2], entry[1::2], strict=True))
        subs = facts[name].get("subcommands", [])
        for sub, inner in zip(subs[::2], subs[1::2], strict=True):  # type: ignore[index]
            facts[sub] = dict(zip(inner[::2], inner[1::2], strict=True))
    wrong = [
        (made.name, made.group, made.since, facts[made.name]["group"], facts[made.name]["since"])
        for made in all_commands()
        if made.name in facts
        and (made.group, made.since) != (facts[made.name]["group"], facts[made.name]["since"])
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("words", [
    ("GET", "a"), ("MSET", "a", 1, "b", 2), ("BLPOP", "a", "b", 0), ("GET",), ("PING",), ("NOPE", "x"),
])  # fmt: skip
def test_getkeys(harness: Harness, oracle: Oracle, words: tuple[str, ...]) -> None:
    both = Pair(oracle, harness)
    both.check("COMMAND", "GETKEYS", *words)
    both.close()


def test_unknown_names_are_null(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    both.check("COMMAND", "INFO", "nope")
    both.check("COMMAND", "DOCS", "nope")
    both.check("COMMAND", "LIST", "FILTERBY")
    both.check("COMMAND", "NOPE")
    both.close()


def test_every_command_is_documented() -> None:
    for made in all_commands():
        assert made.summary.endswith("."), made.name
        assert made.since and made.group, made.name


def test_tokens_that_are_repeated_are_those_of_redis(oracle: Oracle) -> None:
    docs = parse(oracle("COMMAND", "DOCS"))
    theirs = {name: _repeated_tokens(entry) for name, entry in zip(docs[::2], docs[1::2], strict=True)}  # type: ignore[index]
    ours = {made.name: {a.token for a in made.arguments if a.multiple_token} for made in all_commands()}
    assert ours["sort"] == {"GET"}
    assert {n: t for n, t in ours.items() if n in theirs} == {n: t for n, t in theirs.items() if n in ours}


def _repeated_tokens(docs: list[object]) -> set[object]:
    arguments = dict(zip(docs[::2], docs[1::2], strict=True)).get("arguments", [])
    found = [dict(zip(a[::2], a[1::2], strict=True)) for a in arguments]  # type: ignore[attr-defined]
    return {a["token"] for a in found if "multiple_token" in a.get("flags", ()) and a["type"] != "block"}


def test_list_names_subcommands_too(oracle: Oracle, client: Client) -> None:
    theirs = parse(oracle("COMMAND", "LIST"))
    ours = parse(client.raw("COMMAND", "LIST"))
    shared = {made.name for made in all_commands()} & set(theirs)  # type: ignore[call-overload]
    assert {"config|get", "get"} < shared <= set(ours)  # type: ignore[call-overload]
