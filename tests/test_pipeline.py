"""The real `dvc` on a small project: what runs, what comes from the cache, what a stage declares."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr
from dvc.repo import Repo

from stages.pairs.read import Pairs
from stages.pipeline.params.sections import UndeclaredParameterError
from tests.conftest import change_parameters
from tests.declarations import check_declarations, leaves, recorder
from tests.project import CERTIFIED, ROOT, STAGES, copied, core_of, metrics, run, stages_run, succeed


@pytest.mark.parametrize(
    "share", [pytest.param(share, marks=pytest.mark.slow if share != 0.3 else ()) for share in (0, 0.001, 0.3, 0.9)]
)
def test_a_lock_file_that_a_kill_cut_costs_no_work(project: Path, share: float) -> None:
    """DVC writes it in place; what is left of it is refused, or is the lock of fewer stages."""
    lock = project / "dvc.lock"
    whole = lock.read_bytes()
    lock.write_bytes(whole[: int(share * len(whole))])
    first = run(project, "dvc", "repro")
    assert stages_run(first.stdout) == []
    if first.returncode != 0:
        lock.unlink()
    assert stages_run(succeed(project, "dvc", "repro")) == []
    assert lock.read_bytes() == whole


@pytest.fixture(scope="module")
def watched(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the reproduced project in which parameters are changed and nothing is run."""
    return copied(reproduced, tmp_path_factory.mktemp("watched") / "project")


def test_precision_reruns_all_but_generate_and_the_way_back_runs_nothing(project: Path) -> None:
    output = succeed(project, "dvc", "exp", "run", "--name", "other", "-S", "precision=0.4")
    assert stages_run(output) == ["train_seed", "select", "evaluate", "report"]
    shown = json.loads(succeed(project, "dvc", "metrics", "diff", "--json"))
    assert shown["metrics/evaluate.json"]["bar"] == pytest.approx({"old": 0.285, "new": 0.38, "diff": 0.095})
    assert "other" in succeed(project, "dvc", "exp", "show", "--csv")
    shutil.rmtree(project / "data")
    shutil.rmtree(project / "models")
    output = succeed(project, "dvc", "exp", "run", "-S", "precision=0.3")
    assert stages_run(output) == []
    assert succeed(project, "git", "status", "--porcelain", "dvc.lock", "metrics") == ""
    assert "up to date" in succeed(project, "dvc", "status")


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        ("tolerance=0.9", {"select", "evaluate", "report"}),
        ("audit.likeness=0.9", {"audit", "report"}),
        ("evaluate.on_leak=drop", {"evaluate", "report"}),
        ("judge.folds=2", {"judge", "report"}),
        ("select.on_suspect=set_aside", {"select", "report"}),
        ("select.pick_to_learn.max_steps=5", {"select", "report"}),
        ("select.order_seed=1", {"train_seed", "select", "report"}),
        ("seed_training.max_epochs=999", {"train_seed", "report"}),
        ("network.dropout=0.25", {"train_seed", "judge", "report"}),
        ("dataset.train_count=41", {"generate@train", "report"}),
        ("dataset.dtype=float32", {"generate@train", "generate@test", "report"}),
        ("training.precision_policy=float32", {"train_seed", "judge", "report"}),
    ],
)
def test_a_parameter_makes_only_the_stages_stale_that_read_it(
    watched: Path, monkeypatch: pytest.MonkeyPatch, change: str, stale: set[str]
) -> None:
    monkeypatch.chdir(watched)
    path = watched / "params.yaml"
    before = path.read_text()
    key, value = change.split("=")
    change_parameters(path, {key: yaml.safe_load(value)})
    try:
        assert set(Repo().status()) == stale
    finally:
        path.write_text(before)


@pytest.mark.parametrize("name", ["params.yaml", "stages/choices.yaml"])
def test_no_parameter_is_out_of_sight_of_the_run_cache(name: str) -> None:
    """DVC (issue 10296) restores the run of another ``size`` or ``nfiles`` if the section of these is declared."""
    keys = leaves(yaml.safe_load((ROOT / name).read_text()))
    assert [key for key in keys if key.split(".")[-1] in ("size", "nfiles")] == []


@pytest.mark.slow
def test_another_number_of_pairs_is_another_run(project: Path) -> None:
    command = ["dvc", "exp", "run", "select", "-S", "select.strategy=random", "-S", "select.budget.steps=2", "-S"]
    for count, stages in ((5, ["train_seed", "select"]), (6, ["select"]), (5, [])):
        assert stages_run(succeed(project, *command, f"select.budget.count={count}")) == stages
        assert metrics(project, "select")["selected"] == len(core_of(project)) == count


@pytest.mark.slow
def test_the_size_of_the_test_set_reruns_what_reads_the_test_set(project: Path) -> None:
    output = succeed(project, "dvc", "exp", "run", "-S", "dataset.test_count=13")
    assert stages_run(output) == ["generate@test", "audit", "evaluate", "report"]
    assert metrics(project, "evaluate")["test"]["pairs"] == 13


def test_results_agree_with_each_other(reproduced: Path) -> None:
    project = reproduced
    core = core_of(project)
    select, evaluate, seed = metrics(project, "select"), metrics(project, "evaluate"), metrics(project, "seed")
    assert select["selected"] == len(core) == evaluate["chosen"]["pairs"]
    assert select["tested"] == select["pool"] == 40 == evaluate["chosen"]["pairs"] + evaluate["rejected"]["pairs"]
    assert [int(line["order"]) for line in core] == list(range(len(core)))
    assert [line["score"] for line in core[:4]] == [""] * 4
    assert all(float(line["score"]) < evaluate["bar"] for line in core[4:])
    assert select["steps"] <= sum(int(line["epochs"]) for line in core) <= 2 * select["steps"]
    assert seed["score"] > 0.3
    assert seed["pairs_trained"] == 4 * seed["epochs"]
    assert json.loads((project / "models/seed.json").read_text())["loss"] == "bce_dice"
    pixels = sum(evaluate["test"][f"{kind}_{sign}"] for kind in ("true", "false") for sign in ("positive", "negative"))
    assert pixels == 12 * 32 * 32


def test_a_run_on_masks_of_classes_tells_of_each(project: Path) -> None:
    asked = ["dataset.classes=all", "score=iou", "precision=0.05"]
    succeed(project, "dvc", "exp", "run", *(f"--set-param={each}" for each in asked))
    names = ["background", "ellipse", "rectangle"]
    assert list(metrics(project, "train")["classes"]) == names
    pool, core = (Pairs(project / "data" / name) for name in ("train.zarr", "core.zarr"))
    assert [each.name for each in pool.classes] == [each.name for each in core.classes] == names
    test = metrics(project, "evaluate")["test"]
    assert list(test["classes"]) == names
    assert test["classes"]["ellipse"]["pairs"] == 12
    assert test["score"] == test["iou"]
    compared = succeed(project, "dvc", "metrics", "diff", "--all", "--md")
    assert "test.classes.ellipse.iou" in compared
    page = (project / "metrics/report.html").read_text()
    assert all(f"</span>{name}</th>" in page for name in names)


@pytest.mark.parametrize("strategy", CERTIFIED)
def test_evaluate_finds_no_failure_where_select_certifies_that_there_is_none(project: Path, strategy: str) -> None:
    succeed(project, "dvc", "exp", "run", *CERTIFIED[strategy])
    select, evaluate = metrics(project, "select"), metrics(project, "evaluate")
    assert select["certified"] is True
    assert select["passes"] >= 1
    assert select["selected"] == 4 + sum(select["added_by_pass"].values()) == evaluate["chosen"]["pairs"]
    assert evaluate["rejected"].get("below_bar", 0) == 0
    # What select verified is what the saved network predicts: without it, evaluate finds the same.
    (project / "data/verified.npz").unlink()
    np.savez(project / "data/verified.npz", rows=np.empty(0, np.int64), fits=np.empty((0, 0)))
    succeed(project, "python", "-m", "stages.evaluate")
    assert {**metrics(project, "evaluate"), "seconds": 0} == {**evaluate, "seconds": 0}
    if strategy == "first_failure":  # which learns its core until all of it passes
        assert evaluate["chosen"]["below_bar"] == 0


def test_the_core_is_a_set_of_its_own(reproduced: Path) -> None:
    core, pool = (Pairs(reproduced / "data" / name) for name in ("core.zarr", "train.zarr"))
    rows = np.array([int(line["row"]) for line in core_of(reproduced)])
    assert np.array_equal(np.asarray(zarr.open_array(reproduced / "data/core.zarr/rows", mode="r")), rows)
    taken, expected = core.read(range(len(core))), pool.read(rows)
    assert np.array_equal(taken.images, expected.images)
    assert np.array_equal(taken.targets, expected.targets)


@pytest.mark.slow
def test_the_same_run_from_nothing_gives_the_same_bytes(reproduced: Path, tmp_path: Path) -> None:
    project = reproduced
    again = tmp_path / "again"
    shutil.copytree(project, again, ignore=shutil.ignore_patterns("cache", "tmp", "*.zarr", "*.keras", "core.csv"))
    assert stages_run(succeed(again, "dvc", "repro", "--force")) == STAGES
    first, second = (yaml.safe_load((folder / "dvc.lock").read_text())["stages"] for folder in (project, again))
    for stage in STAGES:
        timeless = [
            [out for out in lock[stage]["outs"] if not out["path"].endswith((".json", ".html"))]
            for lock in (first, second)
        ]
        assert timeless[0] == timeless[1], stage
    for name in ("seed", "select", "evaluate"):
        old, new = metrics(project, name), metrics(again, name)
        assert {**old, "seconds": 0} == {**new, "seconds": 0}


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "judge"])  # that has nothing to do here
def test_a_stage_declares_exactly_the_code_and_parameters_that_it_uses(reproduced: Path, stage: str) -> None:
    check_declarations(reproduced, reproduced.parent / "records", stage)


def test_the_judge_declares_exactly_the_code_and_parameters_that_it_uses_and_what_it_finds_is_reported(
    project: Path, tmp_path: Path
) -> None:
    command = ["dvc", "exp", "run", "-S", "judge.folds=2"]
    assert stages_run(succeed(project, *command, **recorder(tmp_path / "records"))) == ["judge", "evaluate", "report"]
    check_declarations(project, tmp_path / "records", "judge")
    with (project / "data/suspects.csv").open(newline="") as file:
        judged_by = [line["judged_by"] for line in csv.DictReader(file)]
    assert len(judged_by) == metrics(project, "judge")["judged"] == 40
    assert set(judged_by) <= {"core", "fold"}


def test_an_undeclared_parameter_stops_the_stage(project: Path) -> None:
    pipeline = yaml.safe_load((project / "dvc.yaml").read_text())
    pipeline["stages"]["audit"]["params"].remove("audit")
    (project / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    result = run(project, "python", "-m", "stages.audit")
    assert result.returncode == 1
    assert UndeclaredParameterError.__name__ in result.stderr
    assert "'likeness'" in result.stderr


def test_bad_input_ends_in_one_line_and_loses_nothing(project: Path) -> None:
    before = {path: path.read_bytes() for path in (project / "models").iterdir()}
    result = run(project, "dvc", "exp", "run", "-S", "dataset.image_size=40")
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    lines = [line for line in (result.stdout + result.stderr).splitlines() if "params.yaml: " in line]
    assert len(lines) == 1
    assert all(word in lines[0] for word in ("dataset.image_size is 40", "multiple of 16", "dvc checkout"))
    succeed(project, "git", "checkout", "--quiet", "--force", ".")
    succeed(project, "dvc", "checkout", "--force", "--quiet")
    assert {path: path.read_bytes() for path in (project / "models").iterdir()} == before


def test_an_unknown_file_is_refused_by_dvc_before_any_stage_and_by_a_stage_with_what_is_allowed(project: Path) -> None:
    result = run(project, "dvc", "exp", "run", "-S", "network.name=nosuch")
    assert result.returncode != 0
    assert "nosuch" in result.stderr
    assert "Traceback" not in result.stderr
    result = run(project, "python", "-m", "stages.evaluate")
    assert result.returncode == 1
    assert re.fullmatch(r"evaluate: params\.yaml: network\.name is 'nosuch', allowed are: .+\n", result.stderr)
