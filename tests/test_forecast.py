"""What the pipeline will take: sums for each stage, the work of an earlier run, and the command, without a trace."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import forecast
from stages.forecasting import measures
from stages.forecasting.measures import Clock, Drawn
from stages.forecasting.work import work_for
from stages.pairs.layout import Layout
from stages.pipeline.errors import UserError
from stages.pipeline.machine import cores
from stages.pipeline.params import load_all
from tests import tiny
from tests.conftest import Change, change_parameters
from tests.project import metrics, run
from tests.sets import tree

LAYOUT = Layout(5000, (32, 32, 3), "uint8")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is tried once, in this process."""
    monkeypatch.setitem(sys.modules, "stages.networks.tiny", tiny)
    monkeypatch.setattr(measures, "SECONDS", 0.0)
    monkeypatch.setattr(measures, "set_up_tensorflow", lambda: 1)
    monkeypatch.setattr(forecast, "apart", lambda measure, *arguments: measure(Clock(), load_all(), *arguments))


@given(st.integers(1, 10**6), st.integers(1, 64))
def test_workers_share_the_shards_of_a_set(count: int, workers: int) -> None:
    drawn = Drawn(replace(LAYOUT, count=count), start=1.0, pair=0.01, pair_bytes=4000, memory=1)
    found = forecast.generated("generate@train", drawn, workers)
    assert found.disk == 4000 * count
    assert found.processes == min(workers, drawn.layout.shard_count)
    at_once = min(workers, cores(), drawn.layout.shard_count)
    assert 1 + 0.01 * count / at_once <= found.seconds + 1e-6
    assert found.seconds <= 1 + 0.01 * min(count, count / at_once + drawn.layout.shard_rows) + 1e-6


def test_the_disk_of_a_set_is_known_from_a_shard_of_it(reproduced: Path, hurried: None, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(reproduced)
        drawn = measures.draw(Clock(), load_all(), "train", tmp_path / "train")
    written = sum(map(len, tree(reproduced / "data/train.zarr").values()))
    assert drawn.layout.count == 40
    assert 0.7 < drawn.layout.count * drawn.pair_bytes / written < 1.3
    assert tree(tmp_path / "train/images") == tree(reproduced / "data/train.zarr/images")


def test_a_run_with_the_same_parameters_says_how_much_work_there_is(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    seed, select = metrics(project, "seed"), metrics(project, "select")
    work = work_for(load_all(), 40)
    assert (work.epochs, work.core, work.steps) == (seed["epochs"], select["selected"], select["steps"])
    assert (work.trained, work.scored, work.factor) == (select["pairs_trained"], select["pairs_scored"], 1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAINCORE_THREADS", "2")
        assert work_for(load_all(), 40).factor > 1  # the walk takes another course

    change_parameters(project / "params.yaml", {"dataset.train_count": 160})
    larger = work_for(load_all(), 160)
    assert larger.scored == 4 * work.scored
    assert larger.steps == 2 * work.steps
    assert larger.factor > 1
    assert "scaled from the last run" in larger.source

    change_parameters(project / "params.yaml", {"precision": 0.31})
    assert "a guess" in work_for(load_all(), 160).source


def test_a_strategy_with_a_budget_has_the_work_that_its_parameters_say(change: Change) -> None:
    change(**{"select.strategy": "el2n", "select.budget.count": 120})
    work = work_for(load_all(), 1000)
    assert (work.core, work.scored, work.verified, work.factor) == (120, 1000, 0, 1.0)
    assert work.steps == 5 * math.ceil(1000 / 50) + 10 * math.ceil(120 / 50)
    assert work.trained == 5 * 1000 + 10 * 120
    assert work.epochs == 0
    change(**{"select.strategy": "everything"})
    assert work_for(load_all(), 1000).trained == 10 * 1000
    Path("rows.csv").write_text("row\n3\n5\n")
    change(**{"select.strategy": "given", "select.given.table": "rows.csv"})
    assert (work_for(load_all(), 1000).core, work_for(load_all(), 1000).trained) == (2, 10 * 2)


def test_a_fresh_network_on_the_core_is_work_too(change: Change) -> None:
    before = work_for(load_all(), 1000)
    change(**{"select.retrain": 500})
    after = work_for(load_all(), 1000)
    assert (after.steps - before.steps, after.trained - before.trained) == (500, 500 * 20)


def test_the_command_tries_each_stage_and_leaves_no_trace(
    reproduced: Path, hurried: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(reproduced)
    before = tree(reproduced)
    forecast.main(["--json"])
    found = json.loads(capsys.readouterr().out)
    assert [each["stage"] for each in found["stages"]] == [
        "generate@train", "generate@test", "audit", "train_seed", "select", "judge", "evaluate", "report",
    ]  # fmt: skip
    assert all(0 < each["seconds"] < 600 and each["memory"] > 0 for each in found["stages"])
    assert found["work"]["core"] == metrics(reproduced, "select")["selected"]
    model = next(each["disk"] for each in found["stages"] if each["stage"] == "train_seed")
    assert model == pytest.approx((reproduced / "models/seed.keras").stat().st_size, rel=0.3)
    assert tree(reproduced) == before


def test_bad_parameters_are_one_line_before_anything_is_tried(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "apart", lambda *_: pytest.fail("tried"))
    change(**{"dataset.nosuch": 1})
    with pytest.raises(UserError, match=r"params\.yaml: .*nosuch"):
        forecast.main([])


@pytest.mark.slow
def test_what_a_process_of_its_own_finds_wrong_is_one_line(project: Path) -> None:
    change_parameters(project / "params.yaml", {"dataset.name": "folder", "dataset.path": "nowhere"})
    ended = run(project, "python", "-m", "stages.forecast")
    assert ended.returncode == 1
    assert [line for line in ended.stderr.splitlines() if not line.startswith("forecast: 0/5")] == [
        "forecast: dataset.path is 'nowhere', allowed is a folder with images/* and masks/*"
    ]
