"""The optional build: the modules of the hot path compiled to C by mypyc, from the same files.

Only with FERRITE_HOOKS_COMPILE=1 (see tools/compile); without it the package is pure Python. Compiled are the
modules that a command or an event passes through. What runs rarely stays Python: it would only make the build longer.
"""

import os

from setuptools import setup

HOT = """
    errors clock
    resp/parser resp/encoder resp/reply
    values/zset values/encoding values/index values/field_times
    webhooks/match webhooks/lanes webhooks/queue webhooks/delivery webhooks/desk
    engine/run engine/engine engine/keyspace engine/session engine/command engine/syntax engine/expiry engine/stats
    engine/host engine/transactions engine/blocking engine/pause engine/timers engine/latency engine/monitor
    commands/common commands/strings commands/lists commands/hashes commands/sets commands/zsets commands/zset_ranges
    commands/keys commands/expire
    server/connection server/tick
""".split()


def extensions() -> list[object]:
    if os.environ.get("FERRITE_HOOKS_COMPILE") != "1":
        return []
    from mypyc.build import mypycify

    files = [f"ferrite_hooks/{module}.py" for module in HOT]
    return mypycify(["--follow-imports=silent", "--ignore-missing-imports", *files], opt_level="2", debug_level="0")


setup(ext_modules=extensions())
