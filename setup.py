"""The optional build: the modules of the hot path compiled to C by mypyc, from the same files.

Only with FERRITE_HOOKS_COMPILE=1 (see tools/compile); without it the package is pure Python. Compiled are the
modules that commands, events and the keys of a snapshot pass through. What runs rarely stays Python: it would only make
the build longer.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_ext import build_ext

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

COMPILERS = 8  # at a time at most: each takes up to a few hundred MB


def extensions() -> list[object]:
    if os.environ.get("FERRITE_HOOKS_COMPILE") != "1":
        return []
    from mypyc.build import mypycify

    files = [str(Path("ferrite_hooks", room, f"{name}.py")) for room, names in HOT.items() for name in names.split()]
    # one C file for all takes three times as long to compile, and gives nothing faster
    options = ["--follow-imports=silent", "--ignore-missing-imports"]
    return mypycify([*options, *files], opt_level="2", debug_level="0", multi_file=True)


class BuildExt(build_ext):
    """Compiles the C files side by side; setuptools would take one after the other."""

    def build_extensions(self) -> None:
        compile_in_turn = self.compiler.compile

        def compile_all(sources: list[str], **options: Any) -> list[str]:
            with ThreadPoolExecutor(min(os.cpu_count() or 1, COMPILERS)) as pool:
                objects = pool.map(lambda source: compile_in_turn([source], **options), sources)
                return [name for names in objects for name in names]

        self.compiler.compile = compile_all
        super().build_extensions()


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt})
