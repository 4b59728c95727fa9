"""The commands, one file per family. Importing this package declares them all."""

from ferrite_hooks.commands import (  # noqa: F401
    config,
    hashes,
    hll,
    introspection,
    lists,
    scan,
    stream_groups,
    stream_info,
    streams,
    strings,
)
