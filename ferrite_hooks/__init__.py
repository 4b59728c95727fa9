"""Ferrite Hooks: a Redis-protocol server whose data changes reach the outside world as webhooks."""

from ferrite_hooks.version import __version__

__all__ = ["__version__"]
