"""The books of a server that dies again and again: what clients tried, what they were told, what is there afterwards
and what the receiver got; and every promise that these show to be broken.

Each write is an attempt with a number of its own, which is its value. A key belongs to one client, which tries one
thing after the other, so that of two attempts the larger number is the later one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

SENT, ACKNOWLEDGED, REFUSED, STANDS, LOST = "sent", "acknowledged", "refused", "stands", "lost"


@dataclass(slots=True)
class Attempt:
    number: int
    key: str
    group: int  # attempts of one transaction share it; 0 = none
    generation: int  # which run of the server has got it
    state: str = SENT
    at: float = 0.0  # when it was acknowledged


@dataclass
class Books:
    """`may_lose`: seconds of acknowledged writes that a crash may take, 0 = none at all."""

    may_lose: float = 0.0
    generation: int = 0
    attempts: list[Attempt] = field(default_factory=list)
    open: dict[str, list[Attempt]] = field(default_factory=lambda: defaultdict(list))  # since the last start, by key
    sent: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))  # attempt -> generations of requests
    arrived: dict[int, int] = field(default_factory=lambda: defaultdict(int))  # attempt -> how often it was accepted
    first: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # key -> attempts as they came
    ids: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    held: dict[str, int] = field(default_factory=dict)  # what the last start has found
    requests: int = 0
    failed: int = 0
    longest_loss: float = 0.0  # seconds before a crash that the oldest lost write was acknowledged
    wrong: list[str] = field(default_factory=list)

    def attempt(self, key: str, group: int = 0) -> Attempt:
        made = Attempt(len(self.attempts) + 1, key, group, self.generation)
        self.attempts.append(made)
        self.open[key].append(made)
        return made

    def record(self, body: bytes, failed: bool) -> None:
        """One request; one that was answered with a failure does not count as delivered."""
        self.requests += 1
        self.failed += failed
        payload = json.loads(body)
        for event in payload.get("events", [payload]):
            number = int(event["data"]["value"])
            attempt = self.attempts[number - 1]
            if event["key"] != attempt.key:
                self.wrong.append(f"{number} of {attempt.key} was delivered for {event['key']}")
            self.ids[number].add(event["id"])
            self.sent[number].add(self.generation)
            if not failed:
                if number not in self.arrived:
                    self.first[attempt.key].append(number)
                self.arrived[number] += 1

    def crashed(self) -> None:
        """The server has died, and whatever it had sent has arrived."""
        self.generation += 1

    def restarted(self, at: float, found: dict[str, int]) -> None:
        """The server, which died at `at`, is back: `found` is the value of every key, 0 = none."""
        groups: dict[int, set[bool]] = defaultdict(set)
        for key, value in found.items():
            tried = self.open.pop(key, [])
            if value not in (self.held.get(key, 0), *(attempt.number for attempt in tried)):
                self.wrong.append(f"{key}={value} is there, and it was {self.held.get(key, 0)} before")
            for attempt in tried:
                if attempt.state == REFUSED:
                    if attempt.number == value:
                        self.wrong.append(f"{key}={value} was refused and is there")
                    continue
                survived = attempt.number <= value
                if attempt.state == ACKNOWLEDGED and not survived:
                    loss = at - attempt.at
                    self.longest_loss = max(self.longest_loss, loss)
                    if loss > self.may_lose:
                        self.wrong.append(f"{key}={attempt.number}, acknowledged {loss:.3f} s before, is lost")
                if attempt.state == ACKNOWLEDGED or attempt.number == value:
                    attempt.state = STANDS if survived else LOST
                    groups[attempt.group].add(survived)
                elif attempt.number > value:
                    attempt.state = LOST
                    groups[attempt.group].add(False)
                else:
                    self.wrong.append(f"{key}: {attempt.number} had no answer, yet a later one was tried")
        groups.pop(0, None)
        self.wrong += [f"half of transaction {group} is there" for group, both in groups.items() if len(both) > 1]
        self.held = dict(found)

    def standing(self) -> Iterable[Attempt]:
        """What must arrive."""
        return (attempt for attempt in self.attempts if attempt.state in (STANDS, ACKNOWLEDGED))

    def missing(self) -> int:
        return sum(attempt.number not in self.arrived for attempt in self.standing())

    def check(self) -> list[str]:
        """Every broken promise as a sentence; empty = all kept."""
        wrong = list(self.wrong)
        wrong += [
            f"{attempt.key}={attempt.number} stands and was never delivered"
            for attempt in self.standing()
            if attempt.number not in self.arrived
        ]
        for number, generations in self.sent.items():
            attempt = self.attempts[number - 1]
            if attempt.state == REFUSED:
                wrong.append(f"{attempt.key}={number} was refused and delivered")
            elif attempt.state == LOST and max(generations) > attempt.generation:
                wrong.append(f"{attempt.key}={number} is lost, but its event was sent after the restart")
            elif attempt.state == LOST and not self.may_lose:
                wrong.append(f"{attempt.key}={number} is lost, but its event was sent: before it was durable")
        for key, numbers in self.first.items():
            wrong += [
                f"{key}: {earlier} came before {later}" for earlier, later in pairwise(numbers) if earlier > later
            ]
        wrong += [f"{number} has ids {ids}" for number, ids in self.ids.items() if len(ids) > 1]
        return wrong

    def count(self, *states: str) -> int:
        return sum(attempt.state in states for attempt in self.attempts)

    def summary(self) -> str:
        lost = "no answer"
        if self.may_lose:
            lost = f"those acknowledged at most {self.longest_loss:.3f} s before the crash"
        twice = sum(times > 1 for times in self.arrived.values())
        return (
            f"{len(self.attempts)} writes tried: {self.count(STANDS, ACKNOWLEDGED)} stand, {self.count(REFUSED)} were"
            f" refused, {self.count(LOST)} are lost ({lost})\n{self.requests} requests, {self.failed} of them failed"
            f" on purpose; {len(self.arrived)} events accepted, {twice} of them more than once"
        )
