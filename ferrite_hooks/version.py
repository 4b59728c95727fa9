"""The two versions a user can ask for: ours, and the Redis whose commands we answer like."""

__version__ = "0.1.0"

# What INFO and HELLO report. Clients choose commands by it, so it names the release that our
# differential tests run against, never one that merely sounds newer.
REDIS_VERSION = "7.0.15"
