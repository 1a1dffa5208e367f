"""Stages that fail leave nothing and say one line; stages that finish replace what was there."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.entry import run, whole, write_json
from stages.errors import UserError


@pytest.fixture(autouse=True)
def outside_of_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)


def contents(folder: Path) -> dict[str, str | None]:
    return {str(path.relative_to(folder)): path.read_text() if path.is_file() else None for path in folder.rglob("*")}


def make_folder(path: Path, text: str) -> None:
    path.mkdir()
    (path / "inner").write_text(text)


def test_what_is_written_is_moved_to_its_place(tmp_path: Path) -> None:
    with whole(tmp_path / "data" / "a.csv") as (path,):
        path.write_text("new")
        assert not (tmp_path / "data" / "a.csv").exists()
    assert contents(tmp_path) == {"data": None, "data/a.csv": "new"}


def test_the_path_to_write_to_has_the_suffix_of_its_target(tmp_path: Path) -> None:
    with whole(tmp_path / "a.keras", tmp_path / "b.zarr") as (model, data):
        assert (model.suffix, data.suffix) == (".keras", ".zarr")
        assert model.parent == data.parent == tmp_path
        model.touch()
        data.touch()


def test_files_and_folders_replace_files_and_folders(tmp_path: Path) -> None:
    make_folder(tmp_path / "a", "old")
    make_folder(tmp_path / "b", "old")
    (tmp_path / "c").write_text("old")
    with whole(tmp_path / "a", tmp_path / "b", tmp_path / "c") as (a, b, c):
        make_folder(a, "new")
        b.write_text("new")
        make_folder(c, "new")
    assert contents(tmp_path) == {"a": None, "a/inner": "new", "b": "new", "c": None, "c/inner": "new"}


@pytest.mark.parametrize("error", [UserError("bad"), OSError("full"), KeyboardInterrupt(), ZeroDivisionError()])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    make_folder(tmp_path / "a", "old")
    (tmp_path / "b").write_text("old")
    before = contents(tmp_path)

    def work() -> None:
        with whole(tmp_path / "a", tmp_path / "b", tmp_path / "c") as (a, b, _):
            make_folder(a, "half")
            b.write_text("new")
            raise error

    with pytest.raises(type(error)):
        work()
    assert contents(tmp_path) == before


def test_a_target_that_was_not_written_is_a_failure_of_all(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("old")
    before = contents(tmp_path)
    with pytest.raises(FileNotFoundError), whole(tmp_path / "a", tmp_path / "b") as (a, _):
        a.write_text("new")
    assert contents(tmp_path) == before


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    with whole(tmp_path / "a") as (left,):
        left.touch()
    make_folder(left, "left by a killed run")
    with whole(tmp_path / "a") as (path,):
        assert path == left
        assert not path.exists()
        path.write_text("new")
    assert contents(tmp_path) == {"a": "new"}


def failing_with(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


def end_of(main: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """What a stage ends with: the code or the line that Python prints for it, and what it printed itself."""
    with pytest.raises(SystemExit) as caught:
        run("select", main)
    return caught.value.code, capsys.readouterr().err


def test_a_user_error_ends_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert end_of(failing_with(UserError("precision is 2")), capsys) == ("select: precision is 2", "")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "data/core.csv"), "select: data/core.csv: Permission denied"),
        (OSError(28, "No space left on device"), "select: a file: No space left on device"),
        (OSError("odd"), "select: a file: odd"),
    ],
)
def test_an_error_of_the_file_system_ends_in_a_line(
    error: OSError, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of(failing_with(error), capsys) == (line, "")


def test_an_interrupt_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert end_of(failing_with(KeyboardInterrupt()), capsys) == (130, "select: interrupted\n")


@pytest.mark.parametrize("error", [UserError("bad"), OSError("bad")])
def test_under_dvc_the_line_says_how_to_have_the_outputs_back(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DVC_STAGE", "select")
    line, _ = end_of(failing_with(error), capsys)
    assert str(line).endswith(
        "; outputs of an earlier run, which DVC removed: `dvc checkout`, and `git checkout metrics` if committed"
    )


def test_a_mistake_of_the_project_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run("select", failing_with(ZeroDivisionError()))


def test_a_stage_that_finishes_just_returns() -> None:
    calls = []
    run("select", lambda: calls.append(1))
    assert calls == [1]


def test_metrics_are_json_that_ends_its_last_line(tmp_path: Path) -> None:
    values = {"score": 0.8636, "resolved": {"loss": "bce_dice"}, "epochs": 47}
    write_json(tmp_path / "seed.json", values)
    text = (tmp_path / "seed.json").read_text()
    assert json.loads(text) == values
    assert text.endswith("}\n")
    assert len(text.splitlines()) == 7
