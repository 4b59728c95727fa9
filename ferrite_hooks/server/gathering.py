"""Under `fsync always` an fsync waits a moment for those who are about to write, too.

The clients that one fsync has let go send their next commands at about the same time. An fsync that begins with the
first of them makes the others wait for the next one: a server's clients would form groups that take turns waiting for
each other. So as long as they come back one after the other, the fsync is put off. A client alone does not wait for
anybody, and those who take their time are not waited for.
"""

from __future__ import annotations

from typing import Final

PAUSE_SECONDS: Final = 100e-6  # in which nobody has come back: those who are missing do something else
LONGEST_SECONDS: Final = 2e-3


class Gathering:
    """Those whose replies an fsync has let go, on their way back. `now` is in seconds, of any clock."""

    __slots__ = ("_came", "_came_at", "_expected", "_until")

    def __init__(self) -> None:
        self._expected = 0  # connections
        self._came = 0  # of them so far
        self._came_at = 0.0  # when the last one came
        self._until = 0.0

    def answered(self, clients: int, pace: float, now: float) -> None:
        """So many connections more have their replies, after an fsync that takes `pace` seconds."""
        self._expected += clients
        self._came = 0
        self._came_at = now
        self._until = now + min(pace, LONGEST_SECONDS)

    def incomplete(self, came: int, now: float) -> bool:
        """Whether more of them are worth waiting for, `came` being there already. If not, the next group begins."""
        if came < self._expected:
            if came > self._came:
                self._came = came
                self._came_at = now
            if now < self._until and now - self._came_at < PAUSE_SECONDS:
                return True
        self._expected = 0
        return False
