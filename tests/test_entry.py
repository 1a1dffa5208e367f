"""Ends of a stage: one line for a mistake of the person, a traceback for one of the project, a word at an interrupt."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.pipeline.entry import run
from stages.pipeline.errors import UserError


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DVC_STAGE", "TRAINCORE_DEBUG"):
        monkeypatch.delenv(name, raising=False)


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
        "select: interrupted; the same command goes on from the last checkpoint, if there is one\n",
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


@pytest.mark.parametrize("error", [UserError("bad"), PermissionError(13, "denied", "a.csv"), MemoryError()])
def test_for_debugging_the_traceback_stands_above_the_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line, _ = end_of(failing_with(error), capsys)
    monkeypatch.setenv("TRAINCORE_DEBUG", "1")
    same_line, trace = end_of(failing_with(error), capsys)
    assert same_line == line
    assert trace.startswith("Traceback (most recent call last):\n")
    assert "raise error" in trace


def test_for_debugging_an_error_that_led_to_another_is_shown_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        try:
            raise IndexError("a mistake in a reader")
        except IndexError:
            raise UserError("a.npz: damaged") from None

    assert end_of(main, capsys) == ("select: a.npz: damaged", "")
    monkeypatch.setenv("TRAINCORE_DEBUG", "1")
    assert "IndexError: a mistake in a reader" in end_of(main, capsys)[1]


@pytest.mark.parametrize("value", ["0", ""])
def test_debugging_is_off_unless_it_is_asked_for(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAINCORE_DEBUG", value)
    assert end_of(failing_with(UserError("bad")), capsys) == ("select: bad", "")


def test_a_stage_that_finishes_just_returns() -> None:
    calls = []
    run("select", lambda: calls.append(1))
    assert calls == [1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stage_that_is_told_to_end_says_so_and_cleans_up(tmp_path: Path, number: signal.Signals) -> None:
    script = f"""
import time
from pathlib import Path
from stages.pipeline.entry import run
from stages.pipeline.files import atomic
def main():
    with atomic(Path({str(tmp_path / "core.csv")!r})) as (path,):
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
    assert err == "select: interrupted; the same command goes on from the last checkpoint, if there is one\n"
    assert not list(tmp_path.iterdir())
