"""Reading the configuration: TOML and command-line flags in, one frozen Config or every mistake at once out.

Nothing here knows a single key; they are in `config_keys.py`. Values come in three ways, and all go through
the same checks: as TOML gives them, as the text of a flag or of CONFIG SET (`parse`), and from a running
Config that is to be changed (`changed`). `python -m ferrite_hooks.config` prints config.example.toml.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ferrite_hooks.config_keys import Config, Key, Value, contradictions, output_buffer_limits, parse_size

__all__ = [
    "KEYS",
    "REDIS_NAMES",
    "Config",
    "ConfigError",
    "Key",
    "Value",
    "changed",
    "example",
    "flat",
    "load",
    "output_buffer_limits",
    "parse",
    "parse_size",
]


class ConfigError(Exception):
    """The configuration cannot be used; `errors` has one sentence for each reason. Shows no secret."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


def _keys(section: Any, prefix: str) -> Iterator[Key]:
    for field in dataclasses.fields(section):
        name = prefix + field.name
        default: Any = field.default
        if dataclasses.is_dataclass(default):  # a section in a section
            yield from _keys(default, name + ".")
        else:
            yield Key(name, default, **field.metadata)


KEYS: dict[str, Key] = {key.name: key for key in _keys(Config, "")}
REDIS_NAMES: dict[str, Key] = {key.redis: key for key in KEYS.values() if key.redis}
_SECTIONS = {name.rpartition(".")[0] for name in KEYS} | {""}


def load(path: Path | None, overrides: Mapping[str, object] | None = None) -> Config:
    """The file's values (none: all defaults), with `overrides` by full name on top: typed values or texts.

    Raises ConfigError.
    """
    values: dict[str, Value] = {name: key.default for name, key in KEYS.items()}
    errors: list[str] = []
    for name, raw in _given(path, errors):
        _set(values, errors, name, raw)
    for name, raw in (overrides or {}).items():
        if isinstance(raw, str) and name in KEYS:
            try:
                raw = parse(KEYS[name], raw)
            except ValueError as e:
                errors.append(f"{name}: {e}")
                continue
        _set(values, errors, name, raw)
    return _build(values, errors)


def changed(config: Config, values: Mapping[str, object]) -> Config:
    """`config` with other values for some keys, by full name, live or not. Raises ConfigError."""
    merged = flat(config)
    errors: list[str] = []
    for name, raw in values.items():
        _set(merged, errors, name, raw)
    return _build(merged, errors)


def flat(config: Config) -> dict[str, Value]:
    """Every key's value by full name."""
    values = {}
    for name in KEYS:
        value: Any = config
        for part in name.split("."):
            value = getattr(value, part)
        values[name] = value
    return values


def parse(key: Key, text: str) -> object:
    """What a flag's or CONFIG SET's text means for the key, its limits unchecked. Raises ValueError."""
    if isinstance(key.default, bool):
        if text.lower() not in _BOOLEANS:
            raise ValueError(f"expected yes or no, got {_shown(key, text)}")
        return _BOOLEANS[text.lower()]
    if isinstance(key.default, int) and key.unit == "bytes":
        return parse_size(text)
    if isinstance(key.default, (int, float)):
        try:
            return type(key.default)(text)
        except ValueError:
            raise ValueError(f"expected {_expected(key)}, got {_shown(key, text)}") from None
    if isinstance(key.default, tuple):
        return tuple(text.replace(",", " ").split())
    return text


_BOOLEANS = {"yes": True, "true": True, "no": False, "false": False}


# --- reading ---


def _given(path: Path | None, errors: list[str]) -> list[tuple[str, object]]:
    """The file's leaves by full name."""
    if path is None:
        return []
    try:
        with open(path, "rb") as file:
            return list(_leaves(tomllib.load(file), ""))
    except OSError as e:
        errors.append(f"cannot read {path}: {e.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        errors.append(f"{path} is not TOML: {e}")
    return []


def _leaves(table: dict[str, Any], prefix: str) -> Iterator[tuple[str, object]]:
    for part, value in table.items():
        name = prefix + part
        if isinstance(value, dict) and name not in KEYS and (name in _SECTIONS or value):
            yield from _leaves(value, name + ".")
        else:
            yield name, value


def _set(values: dict[str, Value], errors: list[str], name: str, raw: object) -> None:
    key = KEYS.get(name)
    if key is None:
        errors.append(_unknown(name))
        return
    value = _typed(key, raw)
    wrong = f"expected {_expected(key)}" if value is None else fits(key, value)
    if wrong:
        errors.append(f"{name}: {wrong}, got {_shown(key, raw)}")
    elif value is not None:
        values[name] = value


def _typed(key: Key, raw: object) -> Value | None:
    """`raw` as the key's type, None when it is another."""
    default = key.default
    if isinstance(default, bool):
        return raw if isinstance(raw, bool) else None
    if isinstance(default, int):
        if isinstance(raw, str) and key.unit == "bytes":
            try:
                return parse_size(raw)
            except ValueError:
                return None
        return raw if isinstance(raw, int) and not isinstance(raw, bool) else None
    if isinstance(default, float):
        number = isinstance(raw, (int, float)) and not isinstance(raw, bool) and abs(raw) < 1e18
        return float(raw) if number and math.isfinite(raw) else None  # type: ignore[arg-type]
    if isinstance(default, tuple):
        if isinstance(raw, (list, tuple)) and all(isinstance(item, str) for item in raw):
            return tuple(raw)
        return None
    return raw if isinstance(raw, str) else None


def fits(key: Key, value: Any) -> str:
    """What is wrong with a value of the key's type, "" when nothing is."""
    if key.low is not None and value < key.low:
        return f"expected at least {key.low}"
    if key.high is not None and value > key.high:
        return f"expected at most {key.high}"
    if isinstance(value, int) and value >= 2**63:
        return "expected less than 2^63"
    if key.choices and value not in key.choices:
        near = difflib.get_close_matches(str(value), key.choices, 1)
        return f"expected one of {', '.join(key.choices)}{f' (did you mean {near[0]}?)' if near else ''}"
    text = value if isinstance(value, str) else "".join(value) if isinstance(value, tuple) else ""
    if "\0" in text and key.redis != "requirepass":
        return "expected a text without zero bytes"
    return key.check(value) if key.check else ""


def _expected(key: Key) -> str:
    if isinstance(key.default, bool):
        return "true or false"
    if isinstance(key.default, (int, float)):
        kind = "a whole number" if isinstance(key.default, int) else "a number"
        return f"{key.unit} ({kind})" if key.unit else kind
    return "a list of texts" if isinstance(key.default, tuple) else "a text"


def _shown(key: Key, raw: object) -> str:
    if key.secret:
        return "something else"
    shown = repr(raw) if not isinstance(raw, dict) else "a table"
    return shown if len(shown) <= 100 else shown[:97] + "..."


def _unknown(name: str) -> str:
    """What to say about a name that is no key: the key it is near, or its namesake in another section."""
    if name in _SECTIONS:
        return f"{name}: expected a table of keys"
    leaf = name.rpartition(".")[2]
    elsewhere = [known for known in KEYS if known.rpartition(".")[2] == leaf]
    near = elsewhere or difflib.get_close_matches(name, KEYS, 1, cutoff=0.75)
    return f"{name}: there is no such key{f', did you mean {near[0]}?' if near else ''}"


def _build(values: dict[str, Value], errors: list[str]) -> Config:
    if not errors:
        errors.extend(contradictions(values))
    if errors:
        raise ConfigError(errors)
    config: Config = _section(Config(), "", values)
    return config


def _section(default: Any, prefix: str, values: dict[str, Value]) -> Any:
    fields = {}
    for field in dataclasses.fields(default):
        name = prefix + field.name
        inner = dataclasses.is_dataclass(field.default)
        fields[field.name] = _section(field.default, name + ".", values) if inner else values[name]
    return type(default)(**fields)


# --- the example ---

_HEAD = """\
# Ferrite Hooks' configuration: every key with its default. Start with: ferrite-hooks --config <this file>
# [live]: can change while the server runs (CONFIG SET, or edit and send SIGHUP).
# Sizes are bytes, or texts such as "64mb".
"""


def example() -> str:
    """config.example.toml: every key with its default, each with one line of help."""
    lines = [_HEAD.rstrip()]
    section = ""
    for key in KEYS.values():
        if (name := key.name.rpartition(".")[0]) != section:
            section = name
            lines += ["", f"[{section}]"]
        unit = key.unit if not key.name.endswith("_ms") else ""
        facts = "; ".join(fact for fact in (unit, " | ".join(key.choices)) if fact)
        help = f"# {key.help}{f' ({facts})' if facts else ''}{' [live]' if key.live else ''}"
        lines += [help, f"{key.name.rpartition('.')[2]} = {_toml(key.default)}"]
    return "\n".join(lines) + "\n"


def _toml(value: Value) -> str:
    if isinstance(value, tuple):
        return json.dumps(list(value), ensure_ascii=False)
    if isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:_}" if abs(value) >= 10_000 else str(value)


if __name__ == "__main__":
    print(example(), end="")
