"""Stages that fail leave nothing and say one line; stages that finish replace what was there."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import yaml

from stages import hardware
from stages.entry import run, whole, write_csv, write_json
from stages.errors import UserError
from tests.project import ROOT

FREE = 123_000_000


@pytest.fixture(autouse=True)
def outside_of_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "free_bytes", lambda path: FREE)
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
        (OSError(28, "Full"), "select: a file: Full"),
        (OSError("odd"), "select: a file: odd"),
    ],
)
def test_an_error_of_the_file_system_ends_in_a_line(
    error: OSError, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of(failing_with(error), capsys) == (line, "")


def test_a_lack_of_memory_ends_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = "select: not enough memory; smaller batches or images need less"
    assert end_of(failing_with(MemoryError()), capsys) == (line, "")


def test_an_interrupt_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert end_of(failing_with(KeyboardInterrupt()), capsys) == (
        130,
        "select: interrupted; the same command goes on from the last checkpoint\n",
    )


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


def test_a_table_leaves_empty_what_is_absent(tmp_path: Path) -> None:
    write_csv(tmp_path / "core.csv", ["row", "score"], [[3, None], [5, 0.25]])
    assert (tmp_path / "core.csv").read_text() == "row,score\n3,\n5,0.25\n"


def test_a_full_disk_ends_in_a_line_that_names_the_outputs_and_what_is_free(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")

    def write() -> None:
        with whole(tmp_path / "a", tmp_path / "b") as (a, _):
            a.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    line = r"a, .*b: cannot be written: No space left on device; 123\.0 MB are free; "
    with pytest.raises(UserError, match=line + "once there is room, the same command") as caught:
        write()
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == {"a": "old"}


def test_a_second_process_that_writes_the_same_is_refused_and_says_which_is_first(tmp_path: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from stages.entry import whole
with whole(Path({str(tmp_path / "core.keras")!r}), Path({str(tmp_path / "core.csv")!r})) as paths:
    for path in paths:
        path.write_text("first")
    print("writing", flush=True)
    sys.stdin.read()
"""
    first = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "writing\n"
    with pytest.raises(UserError, match=rf"core\.keras: process {first.pid} is writing it"), _writing(tmp_path):
        pass
    first.communicate("")
    assert contents(tmp_path) == {"core.keras": "first", "core.csv": "first"}
    with _writing(tmp_path) as paths:
        for path in paths:
            path.write_text("second")
    assert contents(tmp_path) == {"core.keras": "second", "core.csv": "second"}


def _writing(folder: Path) -> AbstractContextManager[list[Path]]:
    return whole(folder / "core.keras", folder / "core.csv")


STAGE = """
import os, signal, time
from stages.entry import run
def main():
    print(os.getpid(), flush=True)
    time.sleep(60)
run("select", main)
"""


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_under_dvc_a_stage_ends_with_its_parent(tmp_path: Path, shell: str) -> None:
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    command = pipeline["stages"]["select"]["cmd"].replace("python -m stages.select", f"{sys.executable} stage.py")
    (tmp_path / "stage.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{STAGE}")
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess; subprocess.Popen([{shell!r}, '-c', {command!r}]).wait()"],
        cwd=tmp_path,
        env={**os.environ, "DVC_STAGE": "select"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdout is not None
    stage = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{stage}").exists() and "Z" not in Path(f"/proc/{stage}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "the stage went on as an orphan"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stage_that_is_told_to_end_says_so_and_cleans_up(tmp_path: Path, number: signal.Signals) -> None:
    script = f"""
import time
from pathlib import Path
from stages.entry import run, whole
def main():
    with whole(Path({str(tmp_path / "core.csv")!r})) as (path,):
        path.write_text("half")
        print("writing", flush=True)
        time.sleep(60)
run("select", main)
"""
    stage = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert stage.stdout is not None
    stage.stdout.readline()
    stage.send_signal(number)
    time.sleep(0.002)
    stage.send_signal(signal.SIGTERM)  # as from DVC's end after one to all
    _, err = stage.communicate(timeout=10)
    assert stage.returncode == 130
    assert err == "select: interrupted; the same command goes on from the last checkpoint\n"
    assert contents(tmp_path) == {}
