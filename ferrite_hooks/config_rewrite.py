"""CONFIG REWRITE: running values into the TOML file, everything a person wrote around them kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from ferrite_hooks.config import KEYS
from ferrite_hooks.config_keys import Value
from ferrite_hooks.store.files import DISK, Files, replace_file


def rewrite(path: Path, values: Mapping[str, Value], files: Files = DISK) -> None:
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
    replace_file(files, path, tomlkit.dumps(document).encode(), path.stat().st_mode & 0o777)
