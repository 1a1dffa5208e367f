"""What a long stage shows where there is no terminal: whole lines, now and then."""

import io
import itertools
import re
import sys
from contextlib import suppress
from types import SimpleNamespace

import pytest

from stages.pipeline import progress
from stages.pipeline.progress import Progress


class Terminal(io.StringIO):
    """A file that takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_log_gets_whole_lines_with_what_is_done_and_the_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", 0)
    with Progress("select", 40, "pair") as shown:
        shown.show(10, selected=3, score=0.5)
        shown.show(40, selected=4, score=0.9)
    out, err = capsys.readouterr()
    assert out == ""
    assert "\r" not in err
    assert err.endswith("\n")
    lines = err.splitlines()
    assert all(re.match(r"select: \d+/40 pair \[\S+<\S+, .*\]", line) for line in lines)
    assert any("10/40" in line and "selected=3, score=0.5" in line for line in lines)
    assert "40/40" in lines[-1]
    assert "selected=4, score=0.9" in lines[-1]


def test_a_log_is_quiet_between_its_first_and_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("train_seed", 1000, "epoch") as shown:
        for epoch in range(1, 1001):
            shown.show(epoch, loss=1 / epoch)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 2
    assert "1000/1000 epoch" in lines[-1]


def test_the_last_line_tells_how_far_a_stage_came_that_failed(capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(ZeroDivisionError), Progress("select", 40, "pair") as shown:
        shown.show(7)
        raise ZeroDivisionError
    assert "7/40" in capsys.readouterr().err.splitlines()[-1]


def test_what_was_done_before_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("select", 40, "pair") as shown:
        shown.go_on(30)
    lines = capsys.readouterr().err.splitlines()
    assert "select: goes on from 30 of 40" in lines
    assert "30/40" in lines[-1]


def test_what_an_interrupted_run_had_done_counts_for_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("audit", 40, "image") as shown:
        shown.go_on(30)
        shown.turn_to(8, "part")
        shown.show(2)
    last = capsys.readouterr().err.splitlines()[-1]
    assert "2/8 part" in last
    assert "-" not in last  # as the rate, or the time that is left


def test_a_warning_is_a_line_of_its_own_and_comes_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("select", 40, "pair") as shown:
        for done in range(5):
            shown.show(done)
            shown.warn("a training round stalled")
        shown.warn("something else")
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("warning")] == [
        "warning: a training round stalled",
        "warning: something else",
    ]


def test_a_terminal_gets_a_bar_that_is_drawn_over(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("select", 40, "pair") as shown:
        shown.show(20, score=0.5)
        shown.warn("a training round stalled")
    assert "\rselect:" in terminal.getvalue()
    assert "40 [" in terminal.getvalue()
    assert "warning: a training round stalled\n" in terminal.getvalue()


def ticking() -> SimpleNamespace:
    """A clock by which ten seconds go by from one look at it to the next."""
    times = itertools.count(0, 10)
    return SimpleNamespace(monotonic=lambda: next(times))


def test_long_work_is_forecast_once_from_its_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "time", ticking())
    with Progress("generate train", 10_000, "pair", disk=5e6) as shown:
        for done in range(50, 450, 50):  # five pairs a second, behind the first fifty
            shown.show(done)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "to go" in line]
    assert re.fullmatch(r"generate train: about 33 min to go, 5 MB of disk in all, [\d,]+ MB of memory", line)


@pytest.mark.parametrize(("total", "disk"), [(500, 0.0), (10_000, None)])
def test_short_work_is_not_forecast_and_none_that_nobody_can_know(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], total: int, disk: float | None
) -> None:
    monkeypatch.setattr(progress, "time", ticking())
    with Progress("select", total, "pair", disk) as shown:
        for done in range(50, 450, 50):
            shown.show(done)
    assert "to go" not in capsys.readouterr().err
