"""What is told about the build that is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import servers


def test_versions_of_what_loads_the_servers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert servers.machine()["redis-py"]
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "wrk" not in servers.machine()


@pytest.mark.parametrize(
    ("build", "compiled", "of", "told"),
    [
        ("pure", True, "", "make bench ARGS=…"),
        ("pure", True, "survey", "make bench OF=survey ARGS=…"),
        ("pure", False, "", ""),
        ("compiled", True, "", ""),
    ],
)
def test_pure_beside_a_compiled_build_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    build: str, compiled: bool, of: str, told: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(servers, "build", lambda: build)
    monkeypatch.setattr(servers, "COMPILED", tmp_path if compiled else tmp_path / "none")
    servers.warn_if_pure(of)
    printed = capsys.readouterr()
    assert printed.out == "" and told in printed.err
    assert printed.err.count("\n") == bool(told)
