"""Ferrite Hooks: a Redis-protocol server whose data changes reach the outside world as webhooks.

A receiver written in Python needs two names of it: verify_signature and SignatureError.
"""

from ferrite_hooks.version import __version__
from ferrite_hooks.webhooks.sign import SignatureError, verify_signature

__all__ = ["SignatureError", "__version__", "verify_signature"]
