"""Checkpoints: written whole, found by the same run alone, removed when they are of no use any more."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest

from stages.pipeline import checkpoints
from stages.pipeline.checkpoints import Checkpoint, State, resumable
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import Params, Section, SelectParams
from tests.project import ROOT

MACHINE = {"threads": 2}
STATE = State({"tested": 7, "score": 0.1 + 0.2}, {"weights": np.arange(6, dtype=np.float32).reshape(2, 3)})


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def interrupt(
    precision: float = 0.85, data: str = "data", threads: int = 2, state: State = STATE, stage: str = "select"
) -> State | None:
    """A run that saves a state and is interrupted; returns what it found."""
    params = Params.model_construct(precision=precision)
    with suppress(KeyboardInterrupt), resumable(stage, params, {"pool": data}, {"threads": threads}) as saved:
        saved.save(state)
        raise KeyboardInterrupt
    return saved.found


def states() -> list[Path]:
    return sorted(Path(".traincore").glob("checkpoints/*/*/state.npz"))


def test_the_same_run_finds_what_it_saved() -> None:
    assert interrupt() is None
    found = interrupt()
    assert found is not None
    assert found.plain == STATE.plain
    np.testing.assert_array_equal(found.arrays["weights"], STATE.arrays["weights"])
    assert found.arrays["weights"].dtype == np.float32


def finish(keep: bool = True, stage: str = "select") -> State | None:
    """A run that saves a state and ends well; returns what it found."""
    params = Params.model_construct(precision=0.85)
    with resumable(stage, params, {"pool": "data"}, MACHINE, keep=keep) as saved:
        saved.save(STATE)
    return saved.found


def test_a_run_that_ended_well_is_found_until_the_next_stage_starts_since_dvc_may_be_killed_meanwhile() -> None:
    finish()
    assert finish()
    finish(stage="train_seed")
    assert [path.parent.parent.name for path in states()] == ["train_seed"]
    interrupt(stage="evaluate")
    assert [path.parent.parent.name for path in states()] == ["evaluate"]
    assert finish(stage="evaluate", keep=False)
    assert not states()


def test_a_run_that_saved_nothing_leaves_nothing() -> None:
    params = Params.model_construct(precision=0.85)
    with suppress(UserError), resumable("select", params, {"pool": "data"}, MACHINE):
        raise UserError("bad input")
    assert not list(Path(".traincore/checkpoints").iterdir())


class Options(Section):
    """Options that only one strategy has."""

    centers: int


class Strategies(SelectParams):
    """The section of strategies, with that of one more."""

    my_own: Options


def test_options_that_a_section_declares_on_top_count() -> None:
    for centers in (3, 4):
        select = Strategies.model_construct(my_own=Options(centers=centers))
        with resumable("select", Params.model_construct(select=select), {}, MACHINE) as saved:
            assert saved.found is None
            saved.save(STATE)


@pytest.mark.parametrize("change", [{"precision": 0.9}, {"data": "other"}, {"threads": 1}])
def test_another_run_in_the_same_place_ignores_and_removes_it(change: dict[str, float]) -> None:
    interrupt()
    assert interrupt(**change) is None  # type: ignore[arg-type]
    assert len(states()) == 1
    assert interrupt() is None


def test_changed_code_ignores_and_removes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt()
    monkeypatch.setattr(checkpoints, "_digest_of_code", lambda: "other code")
    assert interrupt() is None
    assert len(states()) == 1


def test_stages_do_not_touch_each_other() -> None:
    interrupt(stage="generate@train")
    interrupt(stage="generate@test", precision=0.9)
    assert interrupt(stage="generate@train")
    assert interrupt(stage="generate@test", precision=0.9)


HOLD = """
import sys
from stages.pipeline import checkpoints
checkpoints._key = lambda *_: "key"
with checkpoints.resumable(sys.argv[1], None, {}, {}) as saved:
    saved.save(checkpoints.State({}, {}))
    print("saved", flush=True)
    sys.stdin.read()
"""


@contextmanager
def at_work(stage: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that is running a stage, with a checkpoint."""
    command = [sys.executable, "-c", HOLD, stage]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "saved\n"
        yield process


def test_a_stage_that_is_at_work_is_not_started_again_and_its_checkpoint_stays() -> None:
    with at_work("select") as process:
        with pytest.raises(UserError, match=f"select: process {process.pid} is writing it: `kill {process.pid}`"):
            finish()
        finish(stage="train_seed")
        assert [path.parent.parent.name for path in states()] == ["select", "train_seed"]
        process.kill()
    finish()
    assert [path.parent.parent.name for path in states()] == ["select"]


def test_a_stage_that_was_done_and_is_at_work_again_is_not_done() -> None:
    finish()
    interrupt()
    finish(stage="train_seed")
    assert interrupt()


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "garbage"])
def test_a_damaged_one_is_ignored_with_a_line(workspace: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    saved = Checkpoint(workspace, "select")
    saved.save(STATE)
    content = bytearray((workspace / "state.npz").read_bytes())
    place = content.index(STATE.arrays["weights"].tobytes()) + 5
    content[place] ^= 4
    damaged: dict[str, bytes] = {
        "flip": bytes(content),
        "truncate": bytes(content[:-9]),
        "empty": b"",
        "garbage": b"\x00" * 99,
    }
    (workspace / "state.npz").write_bytes(damaged[damage])
    assert Checkpoint(workspace, "select").found is None
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "state.npz: damaged, starting anew" in err


def test_a_full_disk_keeps_what_was_saved_before_and_says_what_is_needed(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = Checkpoint(workspace, "select")
    saved.save(STATE)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"state\.npz: cannot be written: No space left on device; it takes 80\.0 MB"):
        saved.save(State({"tested": 8}, {"weights": np.zeros(10**7)}))
    assert sorted(path.name for path in workspace.iterdir()) == ["state.npz"]
    found = Checkpoint(workspace, "select").found
    assert found is not None
    assert found.plain == STATE.plain


def test_it_is_saved_once_the_time_has_come(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    now = [100.0]
    monkeypatch.setenv("TRAINCORE_CHECKPOINT_SECONDS", "10")
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    saved = Checkpoint(workspace, "select")

    def state() -> State:
        calls.append(now[0])
        return STATE

    for now[0] in (101.0, 109.0, 110.0, 111.0, 119.9, 120.0):
        saved.save_if_due(state)
    assert calls == [110.0, 120.0]


@pytest.mark.parametrize("value", ["", "abc", "-1", "nan", "1 minute"])
def test_a_bad_interval_is_refused(workspace: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TRAINCORE_CHECKPOINT_SECONDS", value)
    with pytest.raises(UserError, match="TRAINCORE_CHECKPOINT_SECONDS"):
        Checkpoint(workspace, "select")


def test_the_clock_counts_what_was_before(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [7.5]
    monkeypatch.setattr(checkpoints, "_STARTED", 5.0)
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    saved = Checkpoint(workspace, "select")
    assert saved.seconds() == 2.5
    saved.save(STATE)
    now[0] = 6.0
    again = Checkpoint(workspace, "select")
    assert again.seconds() == 3.5
    again.save(STATE)
    assert Checkpoint(workspace, "select").seconds() == 4.5
