"""A program in a pseudo-terminal: type a line, await what the screen shows.

with Terminal(["redis-cli", "-p", "6379"], env={...}) as terminal:
    terminal.expect("6379> ")
    answer = terminal.enter("help get", prompt="6379> ")
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    def __init__(self, words: list[str], env: dict[str, str], columns: int = 400) -> None:
        self._screen, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        self.process = subprocess.Popen(
            words, stdin=inner, stdout=inner, stderr=inner, env={**os.environ, "TERM": "xterm", **env}
        )
        os.close(inner)
        self._pending = b""

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def enter(self, line: str, prompt: str) -> str:
        """Types a line and returns the answer: what is shown behind it and before the next prompt."""
        self.type(line + "\r")
        self.expect("\n")
        return self.expect(prompt).removesuffix(prompt)

    def expect(self, text: str, seconds: float = 10) -> str:
        """What was shown since the last call up to and including `text`, without control sequences."""
        deadline = time.monotonic() + seconds
        while text not in (shown := _CONTROL.sub("", self._pending.decode(errors="replace"))):
            ready, _, _ = select.select([self._screen], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} was not shown, but … {shown[-500:]!r}"
            self._pending += os.read(self._screen, 65536)
        end = shown.index(text) + len(text)
        self._pending = shown[end:].encode()
        return shown[:end]

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._screen)
