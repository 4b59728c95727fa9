"""The commands, one file per family. Importing this package declares them all."""

from ferrite_hooks.commands import hashes, lists, strings  # noqa: F401
