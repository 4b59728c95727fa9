"""The commands, one file per family. Importing this package declares them all."""

from ferrite_hooks.commands import (  # noqa: F401
    client,
    connection,
    hashes,
    introspection,
    lists,
    monitor,
    pubsub,
    strings,
    transactions,
)
