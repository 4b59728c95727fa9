"""The survey's commands do what they are meant to do: none of them errs, and those that read find something."""

from __future__ import annotations

from fakes import Harness

from benchmarks.survey import COMMANDS, filled, rendered, words_of
from ferrite_hooks.errors import ReplyError

NUMBER = "000000000007"
FILLED = ("100", "1000", f"key:{NUMBER}")  # how the keys end that are there from the start


def test_every_command_is_answered(harness: Harness) -> None:
    for words in filled():
        if words[0] != "SET" or words[1] == f"key:{NUMBER}":
            harness.client(*words)
    for command in COMMANDS:
        words = [word.replace("__rand_int__", NUMBER) for word in words_of(command)]
        reply = harness.client(*words)
        assert not isinstance(reply, ReplyError), (command, reply)
        if len(words) > 1 and words[1].endswith(FILLED):
            assert reply not in (None, b"", []), command


def test_the_slowest_comes_first() -> None:
    lines = list(rendered({"GET k": (200.0, 100.0), "SET k v": (50.0, 100.0)}))
    assert [line.split()[0] for line in lines] == ["0.50", "2.00"] and lines[0].endswith("SET k v")
