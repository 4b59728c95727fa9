"""The commands, one file per family. Importing this package declares them all."""

from ferrite_hooks.commands import (  # noqa: F401
    hashes,
    hll,
    lists,
    stream_groups,
    stream_info,
    streams,
    config,
    geo,
    hashes,
    introspection,
    lists,
    scan,
    strings,
    zset_algebra,
    zset_ranges,
    zsets,
)
