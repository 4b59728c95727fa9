"""Every write command has rows here. For each row: redis-server and ours tell the same events, a change of the
data has told one, only declared ones are told, and the effects make the same data elsewhere. And the rows of a
command show all events that it declares.

A family joins by adding its rows and its group to GROUPS.
"""

from __future__ import annotations

import pytest
from fakes import Harness
from histories import apply, contents, run_watched
from oracle import Oracle, Pair

from ferrite_hooks.engine.command import COMMANDS, all_commands

GROUPS = {"hash", "list", "set"}
SETUP = """
SET string v
HSET hash number 1 text x | HSET hash1 field 1
RPUSH list a b c | RPUSH list1 x
SADD set a b | SADD other b c | SADD set1 m
"""
ROWS = """
HSET hash number 2 new 3 | HSET none f v | HMSET hash text y | HSETNX hash new 1 | HSETNX hash text 1
HDEL hash text none | HDEL hash none | HDEL hash1 field | HINCRBY hash number 1 | HINCRBYFLOAT hash number 1.5
LPUSH list x | LPUSH none x | RPUSH list x y | LPUSHX list x | LPUSHX none x | RPUSHX list x | RPUSHX none x
LINSERT list BEFORE b x | LINSERT list BEFORE none x | LSET list 0 x | LREM list 0 a | LREM list 0 none | LREM list1 0 x
LTRIM list 1 1 | LTRIM list 5 6 | LPOP list | LPOP list1 | LPOP none | RPOP list 2 | RPOP list 9
LMPOP 2 none list LEFT | LMPOP 1 list1 RIGHT | LMPOP 1 list RIGHT COUNT 2
LMOVE list list1 LEFT RIGHT | LMOVE list1 none RIGHT LEFT | LMOVE list list LEFT RIGHT | LMOVE none list LEFT LEFT
RPOPLPUSH list list | RPOPLPUSH list1 none
BLPOP none list 0 | BLPOP list1 0 | BRPOP list 0 | BRPOP list1 0
BLMPOP 0 1 list LEFT COUNT 2 | BLMPOP 0 2 none list1 RIGHT
BLMOVE list list1 LEFT RIGHT 0 | BLMOVE list1 none RIGHT LEFT 0 | BRPOPLPUSH list none 0 | BRPOPLPUSH list1 list 0
SADD set c a | SADD set a | SADD none a | SREM set a none | SREM set none | SREM set1 m
SMOVE set other a | SMOVE set other b | SMOVE set1 none m | SMOVE set set a | SMOVE set other none
SPOP set | SPOP set1 | SPOP set 9 | SPOP set 0 | SPOP none
SINTERSTORE set1 set other | SINTERSTORE string set other | SINTERSTORE set1 set none | SINTERSTORE none set1 set
SUNIONSTORE string set other | SUNIONSTORE string none | SDIFFSTORE set set other | SDIFFSTORE set set set
"""
# redis-server does not have these yet
NEWER = """
HEXPIRE hash 9 FIELDS 1 text | HEXPIRE hash 0 FIELDS 1 text | HEXPIRE hash1 0 FIELDS 1 field | HEXPIRE none 9 FIELDS 1 f
HPEXPIRE hash 9 FIELDS 2 text none | HPEXPIRE hash1 0 FIELDS 1 field
HEXPIREAT hash 9999999999 FIELDS 1 text | HEXPIREAT hash1 1 FIELDS 1 field
HPEXPIREAT hash 9999999999999 FIELDS 1 text | HPEXPIREAT hash1 1 FIELDS 1 field
HPERSIST timed FIELDS 1 f | HPERSIST hash FIELDS 1 text
HGETDEL hash FIELDS 2 text none | HGETDEL hash1 FIELDS 1 field | HGETDEL none FIELDS 1 f
HGETEX hash FIELDS 1 text | HGETEX hash EX 9 FIELDS 1 text | HGETEX timed PERSIST FIELDS 1 f
HGETEX hash1 EX 0 FIELDS 1 field
HSETEX hash FIELDS 1 text x | HSETEX hash EX 9 FIELDS 1 text x | HSETEX hash FNX FIELDS 1 text x
HSETEX none PXAT 1 FIELDS 1 f v
"""


def commands(text: str) -> list[tuple[str, ...]]:
    return [tuple(row.split()) for line in text.strip().splitlines() for row in line.split("|")]


def events_of(harness: Harness, words: tuple[str, ...]) -> list[str]:
    """What `words` tells on the data of SETUP; fails where it breaks a promise."""
    for setup in commands(SETUP) + [("HSETEX", "timed", "EX", "9", "FIELDS", "1", "f", "v")]:
        harness.client(*setup)
    copy = Harness()
    apply(copy, harness.engine.drain()[0])
    before = contents(harness)
    harness.capture_all()
    told = run_watched(harness, harness.client, words, before)
    apply(copy, harness.engine.drain()[0])
    assert contents(copy) == contents(harness)
    return told


@pytest.mark.parametrize("words", commands(ROWS), ids=" ".join)
def test_a_change_is_told_as_redis_tells_it(harness: Harness, oracle: Oracle, words: tuple[str, ...]) -> None:
    events_of(harness, words)
    both = Pair(oracle, Harness())
    for setup in commands(SETUP):
        both.check(*setup)
    both.events()
    both.oracle(*words)
    both.ours(*words)
    both.events()


def test_every_write_command_has_rows_that_show_its_events() -> None:
    shown: dict[str, set[str]] = {}
    for words in commands(ROWS) + commands(NEWER):
        shown.setdefault(words[0].lower(), set()).update(events_of(Harness(), words))
    declared = {made.name: set(made.events) for made in all_commands() if made.writes and made.group in GROUPS}
    assert shown == declared
    assert all(name.encode() in COMMANDS for name in shown)
