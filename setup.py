"""The optional build: the modules of the hot path compiled to C by mypyc, from the same files.

Only with FERRITE_HOOKS_COMPILE=1 (see tools/compile); without it the package is pure Python. Compiled are the
modules that commands, events and the keys of a snapshot pass through. What runs rarely stays Python: it would only make
the build longer.
"""

import os
from pathlib import Path

from setuptools import setup

HOT = {
    "": "clock counters errors messagepack recovery",
    "resp": "encoder parser reply",
    "values": "encoding field_times geohash hll index longdouble order stream zset",
    "webhooks": (
        "changes courier delivery desk http1 lanes match patterns payload postman queue refill registry send sending "
        "sign spill"
    ),
    "engine": (
        "blocking command engine expiry host keyspace latency lua lua_values monitor pause run scripts session stats "
        "syntax timers transactions"
    ),
    "commands": (
        "bits common expire geo hashes keys lists scan scripting sets stream_args streams strings zset_ranges zsets"
    ),
    "server": "connection gathering tick",
    "store": "cursor files frames journal output packed rdb_read rdb_write",
}


def extensions() -> list[object]:
    if os.environ.get("FERRITE_HOOKS_COMPILE") != "1":
        return []
    from mypyc.build import mypycify

    files = [str(Path("ferrite_hooks", room, f"{name}.py")) for room, names in HOT.items() for name in names.split()]
    return mypycify(["--follow-imports=silent", "--ignore-missing-imports", *files], opt_level="2", debug_level="0")


setup(ext_modules=extensions())
