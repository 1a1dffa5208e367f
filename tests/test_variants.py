"""The real `dvc` on variants of the small project: parts of one's own, and what takes up an earlier core."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from dvc.repo import Repo
from PIL import Image

from stages.pairs.read import Pairs
from tests.conftest import change_parameters
from tests.declarations import check_declarations, recorder
from tests.project import ROOT, STAGES, add_choice, core_of, metrics, run, stages_run, succeed

# Bright above or bright below: what a network of classes is to tell apart.
TOY_DATA_SET = """
import numpy as np
from stages.pairs.layout import Block, Layout

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
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import Field

from stages.learning.protocol import Learner
from stages.pipeline.params.sections import Section
from stages.strategies.shared.budget import BudgetState, train_on
from stages.strategies.shared.strategy import Pool, Settings


class Options(Section):
    stride: int = Field(ge=1, description="pairs from one that is chosen to the next")


@dataclass
class Strides(BudgetState):
    strides: int = 0

    def metrics(self):
        return {**super().metrics(), "strides": self.strides}


def start(pool: Pool, settings: Settings) -> Strides:
    return Strides(pool.size)


def choose(learner: Learner, state: Strides, settings: Settings) -> Iterator[Strides]:
    chosen = range(0, state.pool, settings.options.stride)
    state.strides = len(chosen)
    return train_on(chosen, learner, state, settings)
"""
TOY_SCORE = """

OF_LABELS["mine"] = lambda fit: fit.true - fit.other
"""


class Part(NamedTuple):
    """Something of one's own: its table and line in stages/choices.yaml, its code, its section of params.yaml."""

    table: str
    line: str
    file: str
    code: str
    section: dict[str, int] | None = None


PARTS = {
    "network": Part(
        "networks",
        "mine: {target: masks, loss: bce_dice, score: tiered_iou, size_multiple: 16, base_filters: 8}",
        "stages/networks/mine.py",
        (ROOT / "tests/tiny.py").read_text(),
    ),
    "data set": Part(
        "datasets",
        "mine: {target: labels, image_size: 8, train_count: 30, test_count: 20, pairs: known}",
        "stages/datasets/mine.py",
        TOY_DATA_SET,
    ),
    "strategy": Part("strategies", "mine: {goal: skip}", "stages/strategies/mine.py", TOY_STRATEGY, {"stride": 5}),
    "score": Part("scores", "mine: {target: labels, best: 1.0}", "stages/learning/scores.py", TOY_SCORE),
}


def add(project: Path, kind: str) -> None:
    """Add something of one's own to a project."""
    part = PARTS[kind]
    add_choice(project, part.table, part.line)
    with (project / part.file).open("a") as file:
        file.write(part.code)
    if part.section:
        change_parameters(project / "params.yaml", {f"select.{Path(part.file).stem}": part.section})


@pytest.mark.parametrize(
    ("kind", "files", "stale"),
    [
        ("network", 2, set()),
        ("data set", 2, set()),
        ("strategy", 3, set()),
        ("score", 2, {"train_seed", "select", "judge", "evaluate"}),
    ],
)
def test_a_part_of_one_s_own_takes_few_files_and_makes_no_result_stale_that_it_has_no_share_in(
    project: Path, monkeypatch: pytest.MonkeyPatch, kind: str, files: int, stale: set[str]
) -> None:
    add(project, kind)
    monkeypatch.chdir(project)
    assert set(Repo().status()) == stale
    assert len(succeed(project, "git", "status", "--porcelain").splitlines()) == files


@pytest.mark.slow
def test_a_network_of_one_s_own_is_trained(project: Path) -> None:
    add(project, "network")
    output = succeed(project, "dvc", "exp", "run", "-S", "network.name=mine")
    assert stages_run(output) == ["train_seed", "select", "judge", "evaluate", "report"]
    assert json.loads((project / "models/seed.json").read_text())["loss"] == "bce_dice"


def test_a_data_set_a_strategy_and_a_score_of_one_s_own_work_together(project: Path) -> None:
    for kind in ("data set", "strategy", "score"):
        add(project, kind)
    changes = {
        "dataset.name": "mine",
        "dataset.image_size": "null",
        "network.name": "dense",
        "select.strategy": "mine",
        "select.budget.epochs": "30",
        "score": "mine",
    }
    output = succeed(project, "dvc", "exp", "run", *(f"-S{key}={value}" for key, value in changes.items()))
    assert stages_run(output) == STAGES
    assert [line["row"] for line in core_of(project)] == [str(row) for row in range(0, 40, 5)]
    assert metrics(project, "select")["strides"] == 8
    test = metrics(project, "evaluate")["test"]
    assert test["hit_rate"] == 1.0
    assert 0.5 < test["score"] <= 2 * test["mean_true_probability"] - 1 + 1e-6


@pytest.fixture
def as_files(project: Path) -> Path:
    """The sets of the project as PNG files of a folder."""
    folder = project / "files"
    for item in ("train", "test"):
        pairs = Pairs(project / f"data/{item}.zarr")
        block = pairs.read(range(len(pairs)))
        for kind, arrays in (("images", block.images), ("masks", block.targets[..., 0] * np.uint8(255))):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            for row, array in enumerate(arrays):
                Image.fromarray(array).save(folder / kind / f"{item}_{row:04d}.png")
    return folder


FROM_FILES = ("-Sdataset.name=folder", "-Sdataset.path=files", "-Sdataset.test_pattern=/test_")


@pytest.mark.slow
def test_the_same_pairs_in_files_give_the_same_core(project: Path, as_files: Path, tmp_path: Path) -> None:
    succeed(project, "dvc", "exp", "run", "-S", "select.order_seed=0", "select")  # what null is for files
    drawn = core_of(project)
    succeed(project, "git", "checkout", "params.yaml")
    records = tmp_path / "records"
    output = succeed(project, "dvc", "exp", "run", *FROM_FILES, **recorder(records))
    assert stages_run(output) == STAGES
    for item in ("train", "test"):
        check_declarations(project, records, f"generate@{item}")
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


@pytest.fixture
def kept(project: Path) -> Path:
    """The core of the first run in a folder of its own, as a person would keep it."""
    folder = project / "kept"
    folder.mkdir()
    for name in ("data/core.csv", "models/core.keras", "models/core.json"):
        shutil.copy(project / name, folder)
    return folder


@pytest.mark.slow
def test_a_second_core_is_chosen_from_what_the_first_one_left(project: Path, kept: Path) -> None:
    # On some processors the first core is all of so small a pool: ten pairs are left in any case.
    table = (kept / "core.csv").read_text().splitlines(keepends=True)
    (kept / "core.csv").write_text("".join(table[: 1 + 30]))
    first = {line["row"] for line in core_of(project)[:30]}
    output = succeed(
        project, "dvc", "exp", "run", "-S", "select.exclude=kept/core.csv", "-S", "select.pick_to_learn.max_steps=1"
    )
    assert stages_run(output) == ["train_seed", "select", "judge", "evaluate", "report"]
    second = {line["row"] for line in core_of(project)}
    assert second
    assert not first & second
    evaluate = metrics(project, "evaluate")
    assert evaluate["excluded"]["pairs"] == len(first)
    assert evaluate["rejected"]["pairs"] == 40 - len(first) - len(second)


@pytest.mark.slow
def test_a_pool_that_has_grown_is_gone_on_with(project: Path, kept: Path) -> None:
    first = core_of(project)
    changes = ["select.start_from=kept", "dataset.train_count=70", "tolerance=0.6", "select.pick_to_learn.max_steps=1"]
    output = succeed(project, "dvc", "exp", "run", *(f"-S{change}" for change in changes))
    assert stages_run(output) == ["generate@train", "audit", "train_seed", "select", "judge", "evaluate", "report"]
    assert core_of(project)[: len(first)] == first
    assert metrics(project, "seed")["epochs"] == 0
    select = metrics(project, "select")
    assert select["tested"] == select["pool"] == 70
    assert select["bound"]["candidates"] == 70 - 4


@pytest.mark.slow
def test_a_fresh_network_is_trained_on_a_given_core(project: Path, kept: Path) -> None:
    first = [line["row"] for line in core_of(project)]
    changes = ["select.strategy=given", "select.given.table=kept/core.csv", "select.budget.steps=3"]
    output = succeed(project, "dvc", "exp", "run", *(f"-S{change}" for change in changes))
    assert stages_run(output) == ["train_seed", "select", "judge", "evaluate", "report"]
    assert [line["row"] for line in core_of(project)] == first
    assert metrics(project, "seed")["epochs"] == 0
    assert metrics(project, "select")["steps"] == 3
