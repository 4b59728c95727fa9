"""A server whose disk is a PowerDisk: `python power_server.py NOTES DIE SERVER-OPTION …`.

DIE is `-` or `operation:when@count`, see PowerDisk.die. It leads a process group of its own.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

import uvloop
from power import PowerDisk

from ferrite_hooks import log
from ferrite_hooks.app import App
from ferrite_hooks.cli import _overrides, _parser
from ferrite_hooks.config import load


async def main() -> None:
    notes, die, *words = sys.argv[1:]
    args = _parser().parse_args(words)
    overrides = _overrides(args)
    config = load(None, overrides)
    log.set_up(config.server.loglevel, config.server.logformat)
    disk = PowerDisk(Path(config.server.dir).parent, Path(notes), slow=0.004)
    if die != "-":
        operation, _, at = die.partition("@")
        disk.die(operation, int(at))
    app = App(config, None, overrides, disk.files)
    app.handle_signals()
    await app.start()
    await app.stopped()


if __name__ == "__main__":
    os.setsid()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
