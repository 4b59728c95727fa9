"""CONFIG REWRITE: running values into the TOML file, everything a person wrote around them kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from ferrite_hooks.config import KEYS
from ferrite_hooks.config_keys import Value


def rewrite(path: Path, values: Mapping[str, Value]) -> None:
    """Updates `path` atomically: its keys get their present value, others are added where they differ from the default.

    Raises OSError."""
    document = tomlkit.parse(path.read_text("utf-8"))
    for name, key in KEYS.items():
        *sections, last = name.split(".")
        table: Any = document
        for section in sections:
            table = table.get(section) if table is not None else None
        value = values[name]
        plain = list(value) if isinstance(value, tuple) else value
        if table is not None and last in table:
            if table[last] != plain:
                table[last] = plain
        elif value != key.default:
            table = document
            for section in sections:
                if section not in table:
                    table[section] = tomlkit.table()
                table = table[section]
            table[last] = plain
    scratch = path.with_name(path.name + ".new")
    scratch.unlink(missing_ok=True)
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(tomlkit.dumps(document))  # there may be passwords in it: never readable by others, not for a moment
    os.chmod(scratch, path.stat().st_mode & 0o777)
    os.replace(scratch, path)
