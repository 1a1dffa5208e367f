"""The real `dvc` on a small project: what runs, what comes from the cache, what a stage declares."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from stages import params as stage_params
from tests.project import CERTIFIED, ROOT, STAGES, check_declarations, core_of, metrics, run, stages_run, succeed


def test_nothing_runs_when_nothing_changed(project: Path) -> None:
    output = succeed(project, "dvc", "repro")
    assert stages_run(output) == []
    assert "up to date" in output
    assert succeed(project, "git", "status", "--porcelain") == ""


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9])
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
        ("select.max_epochs=5", {"select", "report"}),
        ("select.order_seed=1", {"train_seed", "select", "report"}),
        ("seed_training.max_epochs=999", {"train_seed", "report"}),
        ("network.dropout=0.25", {"train_seed", "report"}),
        ("dataset.train_count=41", {"generate@train", "report"}),
        ("dataset.dtype=float32", {"generate@train", "generate@test", "report"}),
        ("training.precision_policy=float32", {"train_seed", "report"}),
    ],
)
def test_a_parameter_makes_only_the_stages_stale_that_read_it(project: Path, change: str, stale: set[str]) -> None:
    key, value = change.split("=")
    *sections, name = key.split(".")
    values = yaml.safe_load((project / "params.yaml").read_text())
    (values[sections[0]] if sections else values)[name] = yaml.safe_load(value)
    (project / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    assert set(json.loads(succeed(project, "dvc", "status", "--json"))) == stale


def test_no_parameter_is_out_of_sight_of_the_run_cache() -> None:
    """DVC (issue 10296) restores the run of another ``size`` or ``nfiles``, unless these are declared one by one."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items():
        declared = stage.get("do", stage)["params"]
        hidden = {
            f"{section}.{key}"
            for section in declared
            if isinstance(section, str) and isinstance(values.get(section), dict)
            for key in values[section].keys() & {"size", "nfiles"}
        }
        assert hidden <= set(map(str, declared)), name


def test_another_number_of_pairs_is_another_run(project: Path) -> None:
    command = ["dvc", "exp", "run", "select", "-S", "select.strategy=random", "-S", "select.steps=2", "-S"]
    for size, stages in ((5, ["train_seed", "select"]), (6, ["select"]), (5, [])):
        assert stages_run(succeed(project, *command, f"select.size={size}")) == stages
        assert metrics(project, "select")["selected"] == len(core_of(project)) == size


def test_the_size_of_the_test_set_reruns_what_reads_the_test_set(project: Path) -> None:
    output = succeed(project, "dvc", "exp", "run", "-S", "dataset.test_count=13")
    assert stages_run(output) == ["generate@test", "audit", "evaluate", "report"]
    assert metrics(project, "evaluate")["test"]["pairs"] == 13


def test_results_agree_with_each_other(project: Path) -> None:
    core = core_of(project)
    select, evaluate, seed = metrics(project, "select"), metrics(project, "evaluate"), metrics(project, "seed")
    assert select["selected"] == len(core) == evaluate["chosen"]["pairs"]
    assert select["tested"] == select["pool"] == 40 == evaluate["chosen"]["pairs"] + evaluate["rejected"]["pairs"]
    assert [int(line["order"]) for line in core] == list(range(len(core)))
    assert [line["score"] for line in core[:4]] == [""] * 4
    assert all(float(line["score"]) < evaluate["bar"] for line in core[4:])
    assert sum(int(line["epochs"]) for line in core) <= select["epochs"]
    assert seed["score"] > 0.3
    assert seed["pairs_trained"] == 4 * seed["epochs"]
    assert seed["resolved"]["loss"] == "bce_dice"
    pixels = sum(evaluate["test"][f"{kind}_{sign}"] for kind in ("true", "false") for sign in ("positive", "negative"))
    assert pixels == 12 * 32 * 32


def test_evaluate_finds_no_failure_where_select_certifies_that_there_is_none(project: Path) -> None:
    succeed(project, "dvc", "exp", "run", *CERTIFIED)
    select, evaluate = metrics(project, "select"), metrics(project, "evaluate")
    assert select["certified"] is True
    assert select["passes"] == len(select["added_by_pass"]) > 1
    assert select["added_by_pass"][str(select["passes"])] == 0
    assert select["selected"] == 4 + sum(select["added_by_pass"].values()) == evaluate["chosen"]["pairs"]
    assert evaluate["chosen"]["below_bar"] == evaluate["rejected"].get("below_bar", 0) == 0


def test_the_core_is_a_set_of_its_own(project: Path) -> None:
    check = """
import numpy as np, zarr
from pathlib import Path
from stages.store import Pairs
core, pool = Pairs(Path("data/core.zarr")), Pairs(Path("data/train.zarr"))
rows = zarr.open_group("data/core.zarr", mode="r")["rows"][...]
taken, expected = core.read(range(len(core))), pool.read(rows)
assert np.array_equal(taken.images, expected.images) and np.array_equal(taken.targets, expected.targets)
table = np.loadtxt("data/core.csv", delimiter=",", skiprows=1, usecols=0, dtype=int)
assert np.array_equal(rows, table)
"""
    succeed(project, "python", "-c", check)


def test_the_same_run_from_nothing_gives_the_same_bytes(project: Path, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_exactly_the_code_and_parameters_that_it_uses(project: Path, stage: str) -> None:
    check_declarations(project, stage)


def test_an_undeclared_parameter_stops_the_stage(project: Path) -> None:
    pipeline = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(pipeline.replace("      - tolerance\n", ""))
    result = run(project, "python", "-m", "stages.evaluate")
    assert result.returncode == 1
    assert stage_params.UndeclaredParameterError.__name__ in result.stderr
    assert "'tolerance'" in result.stderr


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("precision=1.5", ["precision", "1.5", "1.1"]),
        ("precision=abc", ["precision", "'abc'", "number"]),
        ("dataset.image_size=40", ["dataset.image_size", "40", "16"]),
        ("dataset.train_count=0", ["dataset.train_count", "0", "1"]),
        ("training.loss=nosuch", ["training.loss", "nosuch", "bce_dice"]),
        ("+select.batchsize=10", ["select.batchsize", "batch_size"]),
    ],
)
def test_bad_input_ends_in_one_line_and_loses_nothing(project: Path, change: str, named: list[str]) -> None:
    before = {path: path.read_bytes() for path in (project / "models").iterdir()}
    result = run(project, "dvc", "exp", "run", "-S", change)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    lines = [line for line in (result.stdout + result.stderr).splitlines() if "params.yaml: " in line]
    assert len(lines) == 1
    assert all(word in lines[0] for word in named)
    assert "dvc checkout" in lines[0]
    succeed(project, "git", "checkout", "--quiet", "--force", ".")
    succeed(project, "dvc", "checkout", "--force", "--quiet")
    assert {path: path.read_bytes() for path in (project / "models").iterdir()} == before


@pytest.mark.parametrize("key", ["dataset.name", "network.name", "select.strategy"])
def test_an_unknown_file_is_refused_by_dvc_before_any_stage_and_by_a_stage_with_what_is_allowed(
    project: Path, key: str
) -> None:
    result = run(project, "dvc", "exp", "run", "-S", f"{key}=nosuch")
    assert result.returncode != 0
    assert "nosuch" in result.stderr
    assert "Traceback" not in result.stderr
    result = run(project, "python", "-m", "stages.evaluate")
    assert result.returncode == 1
    assert re.fullmatch(rf"evaluate: params\.yaml: {key} is 'nosuch', allowed are: .+\n", result.stderr)
