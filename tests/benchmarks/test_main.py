"""`python -m benchmarks`: what is refused before anything is measured, and what is shown of an old run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from bench_world import figures

from benchmarks import __main__ as bench
from benchmarks import report


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code. Nothing is measured."""

    def measured(*given: object) -> None:
        raise AssertionError("it would have been measured")

    monkeypatch.setattr(bench, "measured", measured)
    monkeypatch.setattr("sys.argv", ["bench", *arguments])
    try:
        return bench.main()
    except SystemExit as ended:
        assert isinstance(ended.code, int)
        return ended.code


@pytest.fixture
def saved(tmp_path: Path) -> str:
    path = tmp_path / "saved.json"
    path.write_text(json.dumps(report.plain(figures())))
    return str(path)


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--json", "nowhere/x.json", "there is no directory"),
        ("--chart", "nowhere/x.svg", "there is no directory"),
        ("--json", ".", "cannot be written"),
        ("--readme", "nowhere/README.md", "there is no directory"),
        ("--readme", "missing.md", "No such file"),
        ("--readme", "unmarked.md", "<!-- measured -->"),
        ("--rounds", "0", "at least 1"),
        ("--rounds", "-1", "at least 1"),
        ("--rounds", "many", "invalid"),
    ],
)
def test_a_bad_argument_is_named_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    option: str, value: str, why: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("unmarked.md").write_text("nothing to fill in")
    assert called(monkeypatch, option, value) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {option}: " in last and why in last


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert called(monkeypatch, "--json", str(tmp_path / "x.json")) == 2


@pytest.mark.parametrize("text", [None, "no JSON", "[]", "{}", '{"rows": 1}', '{"rows": [{}]}', "\xff"])
def test_from_a_wrong_file_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "wrong.json"
    if text is not None:
        path.write_text(text, encoding="latin-1")
    assert called(monkeypatch, "--from", str(path)) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and f"--from {path}" in printed.err


def test_an_old_run_is_shown_and_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, saved: str
) -> None:
    target = tmp_path / "README.md"
    target.write_text(f"{report.BEGIN}{report.END}")
    again, picture = str(tmp_path / "again.json"), str(tmp_path / "chart.svg")
    assert called(monkeypatch, "--from", saved, "--json", again, "--chart", picture, "--readme", str(target)) == 0
    page = report.page(figures())
    assert capsys.readouterr().out == f"{page}\n" and page in target.read_text()
    assert Path(again).read_text() == json.dumps(report.plain(figures()), indent=1) + "\n"
    assert "<svg" in Path(picture).read_text()


def test_the_page_is_there_though_writing_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, saved: str
) -> None:
    def full(self: Path, text: str) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        called(monkeypatch, "--from", saved, "--json", str(tmp_path / "x.json"))
    assert report.page(figures()) in capsys.readouterr().out
