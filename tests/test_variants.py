"""The real `dvc` on variants of the small project: parts of one's own, what takes up an earlier core, and studies."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from stages.store import Pairs
from tests.conftest import change_parameters
from tests.project import STAGES, check_declarations, core_of, metrics, run, stages_run, succeed


def test_a_new_network_is_a_file_and_a_line_and_makes_nothing_stale(project: Path) -> None:
    source = (project / "stages/networks/residual_unet.py").read_text()
    (project / "stages/networks/mine.py").write_text(source)
    choices = (project / "stages/choices.yaml").read_text()
    line = yaml.safe_dump({"mine": yaml.safe_load(choices)["networks"]["residual_unet"]}, default_flow_style=None)
    mine = " ".join(line.split())
    (project / "stages/choices.yaml").write_text(choices.replace("\nnetworks:\n", f"\nnetworks:\n  {mine}\n"))
    try:
        assert json.loads(succeed(project, "dvc", "status", "--json")) == {}
        output = succeed(project, "dvc", "exp", "run", "-S", "network.name=mine")
        assert stages_run(output) == ["train_seed", "select", "evaluate", "report"]
    finally:
        (project / "stages/networks/mine.py").unlink()


# Bright above or bright below: what a network of classes is to tell apart.
TOY_DATA_SET = """
import numpy as np
from stages.store import Block, Layout

class Halves:
    origins = None

    def __init__(self, layout):
        self.layout = layout

    def draw(self, rows):
        labels = np.array([[row % 2] for row in rows], np.uint8)
        images = np.zeros((len(rows), *self.layout.image_shape), np.uint8)
        for image, row in zip(images, rows):
            (image[:4] if row % 2 else image[4:])[...] = np.random.default_rng(row).integers(128, 256, (4, 8, 1))
        return Block(images, labels)

def source(options, item):
    count = getattr(options, f"{item}_count")
    return Halves(Layout(count, (8, 8, 1), options.dtype, classes=2))
"""
TOY_STRATEGY = """
from stages.strategies import train_on

def choose(learner, walk, settings):
    return train_on(range(0, walk.pool, 5), learner, walk, settings)
"""
TOY_SCORE = """

SCORES["mine"] = _of_labels(lambda fit: fit.true - fit.other)
"""
TOY_LINES = {
    "datasets": "mine: {target: labels, image_size: 8, train_count: 30, test_count: 20, pairs: known}",
    "strategies": "mine: {goal: skip}",
    "scores": "mine: {target: labels, best: 1.0}",
}


def test_a_data_set_a_strategy_and_a_score_of_one_s_own_make_nothing_of_others_stale(project: Path) -> None:
    files = {
        project / "stages/datasets/mine.py": TOY_DATA_SET,
        project / "stages/strategies/mine.py": TOY_STRATEGY,
    }
    choices = (project / "stages/choices.yaml").read_text()
    for table, line in TOY_LINES.items():
        choices = choices.replace(f"\n{table}:\n", f"\n{table}:\n  {line}\n")
    (project / "stages/choices.yaml").write_text(choices)
    try:
        for path, content in files.items():
            path.write_text(content)
        assert json.loads(succeed(project, "dvc", "status", "--json")) == {}
        with (project / "stages/scores.py").open("a") as file:
            file.write(TOY_SCORE)
        changes = {
            "dataset.name": "mine",
            "dataset.image_size": "null",
            "network.name": "dense",
            "network.base_filters": "null",
            "select.strategy": "mine",
            "select.epochs": "30",
            "score": "mine",
        }
        output = succeed(project, "dvc", "exp", "run", *(f"-S{key}={value}" for key, value in changes.items()))
        assert stages_run(output) == STAGES
        assert [line["row"] for line in core_of(project)] == [str(row) for row in range(0, 40, 5)]
        test = metrics(project, "evaluate")["test"]
        assert test["hit_rate"] == 1.0
        assert 0.5 < test["score"] <= 2 * test["mean_true_probability"] - 1 + 1e-6
    finally:
        for path in files:
            path.unlink(missing_ok=True)


@pytest.fixture
def as_files(project: Path) -> Iterator[Path]:
    """The sets of the project as PNG files of a folder."""
    folder = project / "files"
    for item in ("train", "test"):
        pairs = Pairs(project / f"data/{item}.zarr")
        block = pairs.read(range(len(pairs)))
        for kind, arrays in (("images", block.images), ("masks", block.targets[..., 0] * np.uint8(255))):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            for row, array in enumerate(arrays):
                Image.fromarray(array).save(folder / kind / f"{item}_{row:04d}.png")
    yield folder
    shutil.rmtree(folder)


FROM_FILES = ("-Sdataset.name=folder", "-Sdataset.path=files", "-Sdataset.test_pattern=/test_")


def test_the_same_pairs_in_files_give_the_same_core(project: Path, as_files: Path) -> None:
    drawn = core_of(project)
    output = succeed(project, "dvc", "exp", "run", *FROM_FILES)
    assert stages_run(output) == STAGES
    found = core_of(project)
    assert [line["file"] for line in found] == [f"images/train_{int(line['row']):04d}.png" for line in drawn]
    assert [{key: line[key] for key in drawn[0]} for line in found] == drawn
    (as_files / "images/new.png").write_bytes((as_files / "images/train_0000.png").read_bytes())
    assert set(json.loads(succeed(project, "dvc", "status", "--json"))) == {"generate@train", "generate@test"}
    result = run(project, "dvc", "repro")
    assert result.returncode != 0
    assert "images/new.png: no mask of the same name; dataset.strict=false leaves such out" in result.stderr
    (as_files / "masks/new.png").write_bytes((as_files / "masks/train_0000.png").read_bytes())
    succeed(project, "dvc", "repro", "audit")
    assert metrics(project, "audit")["within_pool"]["exact"] == 1
    assert (project / "data/leaks.csv").read_text().splitlines()[1].startswith("pool,0,pool,1,exact,0,0,1.0,")


@pytest.mark.parametrize("stage", ["generate@train", "generate@test"])
def test_an_import_declares_exactly_the_code_and_parameters_that_it_uses(
    project: Path, as_files: Path, stage: str
) -> None:
    changes = {"dataset.name": "folder", "dataset.path": "files", "dataset.test_pattern": "/test_"}
    change_parameters(project / "params.yaml", changes)
    check_declarations(project, stage)


@pytest.fixture
def kept(project: Path) -> Iterator[Path]:
    """The core of the first run in a folder of its own, as a person would keep it."""
    folder = project / "kept"
    folder.mkdir()
    for name in ("data/core.csv", "models/core.keras", "metrics/select.json"):
        shutil.copy(project / name, folder)
    yield folder
    shutil.rmtree(folder)


def test_a_second_core_is_chosen_from_what_the_first_one_left(project: Path, kept: Path) -> None:
    # On some processors the first core is all of so small a pool: ten pairs are left in any case.
    table = (kept / "core.csv").read_text().splitlines(keepends=True)
    (kept / "core.csv").write_text("".join(table[: 1 + 30]))
    first = {line["row"] for line in core_of(project)[:30]}
    output = succeed(project, "dvc", "exp", "run", "-S", "select.exclude=kept/core.csv", "-S", "select.max_epochs=1")
    assert stages_run(output) == ["train_seed", "select", "evaluate", "report"]
    second = {line["row"] for line in core_of(project)}
    assert second
    assert not first & second
    evaluate = metrics(project, "evaluate")
    assert evaluate["excluded"]["pairs"] == len(first)
    assert evaluate["rejected"]["pairs"] == 40 - len(first) - len(second)


def test_a_pool_that_has_grown_is_gone_on_with(project: Path, kept: Path) -> None:
    first = core_of(project)
    changes = ["select.start_from=kept", "dataset.train_count=70", "tolerance=0.6", "select.max_epochs=1"]
    output = succeed(project, "dvc", "exp", "run", *(f"-S{change}" for change in changes))
    assert stages_run(output) == ["generate@train", "audit", "train_seed", "select", "evaluate", "report"]
    assert core_of(project)[: len(first)] == first
    assert all(int(line["row"]) >= 40 for line in core_of(project)[len(first) :])
    assert metrics(project, "seed")["epochs"] == 0
    select = metrics(project, "select")
    assert select["pool"] == select["tested"] + 40 - len(first)
    assert 30 <= select["pairs_scored"] < 70


def test_a_fresh_network_is_trained_on_a_given_core(project: Path, kept: Path) -> None:
    first = [line["row"] for line in core_of(project)]
    changes = ["select.strategy=given", "select.given=kept/core.csv", "select.steps=3"]
    output = succeed(project, "dvc", "exp", "run", *(f"-S{change}" for change in changes))
    assert stages_run(output) == ["train_seed", "select", "evaluate", "report"]
    assert [line["row"] for line in core_of(project)] == first
    assert metrics(project, "seed")["epochs"] == 0
    assert metrics(project, "select")["steps"] == 3


STUDY = """
common: {}
studies:
  small:
    asks: "Is a core better than chance?"
    common: []
    grids:
      - name: "drawn-{seed}"
        line: random
        over: {training.seed: [1]}
        with: {select.strategy: random, select.size: 6, select.epochs: 1}
      - name: "again-{seed}"
        line: the same
        over: {training.seed: [1]}
        with:
          select.strategy: given
          select.given: "core of small-drawn-{seed}"
          select.steps: "steps of small-drawn-{seed}"
    table:
      rows: {trained on: line}
      columns: {pairs: select.selected, score: evaluate.test.score, shared: shared}
"""


def test_a_study_runs_what_is_missing_and_writes_its_table(project: Path) -> None:
    (project / "stages/studies.yaml").write_text(STUDY)
    (project / "README.md").write_text("before\n<!-- study small -->\nold\n<!-- end -->\nafter\n")
    output = succeed(project, "python", "-m", "stages.studies")
    assert output.splitlines() == ["small-drawn-1: done", "small-again-1: done"]
    table = (project / "metrics/studies/small.md").read_text().splitlines()[2:]
    assert table[0] == "| trained on | runs | pairs | score | shared |"
    assert [line.split(" | ")[:3] for line in table[2:]] == [["| random", "1", "6"], ["| the same", "1", "6"]]
    assert (project / "README.md").read_text().splitlines() == [
        "before",
        "<!-- study small -->",
        *table,
        "<!-- end -->",
        "after",
    ]
    shown = succeed(project, "dvc", "exp", "list", "--name-only")
    assert {"small-drawn-1", "small-again-1"} <= set(shown.split())
    results = json.loads((project / "metrics/studies/small.json").read_text())
    assert results["small-again-1"]["rows"] == results["small-drawn-1"]["rows"]
    assert results["small-again-1"]["select"]["steps"] == 1

    del results["small-again-1"]
    (project / "metrics/studies/small.json").write_text(json.dumps(results))
    assert succeed(project, "python", "-m", "stages.studies", "small") == "small-again-1: done\n"
    assert (project / "metrics/studies/small.md").read_text().splitlines()[2:] == table
