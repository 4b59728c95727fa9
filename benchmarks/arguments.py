"""Types of arguments: what is wrong with one is told before anything is measured."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def positive(given: str) -> int:
    if (number := int(given)) < 1:
        raise argparse.ArgumentTypeError("at least 1 is needed")
    return number


def output(given: str) -> Path:
    """A file that can be written, there or not."""
    path = Path(given)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {path.parent}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{given} cannot be written")
    return path
