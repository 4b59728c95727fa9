"""The versions a user can ask for: ours, the Redis whose commands we answer like, and how we were built."""

from importlib.util import find_spec

__version__ = "0.1.0"

# What INFO and HELLO report. Clients choose commands by it, so it names the release that our
# differential tests run against, never one that merely sounds newer.
REDIS_VERSION = "7.0.15"


def build() -> str:
    """`compiled` where the hot path runs as C (see setup.py), `pure` where it is Python."""
    spec = find_spec("ferrite_hooks.engine.run")
    return "pure" if spec is None or str(spec.origin).endswith(".py") else "compiled"
