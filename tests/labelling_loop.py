"""Label by the hour, in a trial: `python -m tests.labelling_loop [FOLDER] [OPTIONS]`.

Of some images a few have masks. The pipeline runs on these; the images that `stages.triage` ranks first, or as many at
random, get their masks, too; the run goes on from the core that there was, and so on. A row says how many masks
were bought, and how the core's network does on test images.
"""

import argparse
import itertools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.pairs.tables import read_table
from stages.pipeline import paths
from tests.files import save
from tests.project import make_small_project, metrics, succeed
from tests.wrong_masks import drawn, parser_of, tiles

WAYS = ("triage", "random")
COLUMNS = "data | next ones by | seed | masks bought | core | test score | test pairs below the bar"
KEPT = (paths.CORE_TABLE, paths.CORE_MODEL, paths.CORE_RECORD)


class Plan(NamedTuple):
    """How many images have masks at first and get them each time, how often, how many are for the test."""

    first: int
    batch: int
    times: int
    test: int


class Bought(NamedTuple):
    """A row of the table: masks, pairs of the core, mean test score, test pairs below the bar; and the names so far."""

    masks: int
    core: int
    score: float
    below: int
    names: list[str]


def main() -> None:
    """Print the rows of each way and seed."""
    options = _options()
    count = options.pairs + options.plan.test
    images, masks = tiles(options.folder, options.size) if options.folder else drawn(options.size, count)
    cases = list(itertools.product(options.ways, options.seeds))

    def work(case: tuple[str, int]) -> list[Bought]:
        with tempfile.TemporaryDirectory() as folder:
            files = Path(folder) / "files"
            project = make_small_project(Path(folder) / "project", {"network": {"base_filters": 8}})
            unlabelled = lay_out(files, images[:count], masks[:count], options.plan.test)
            settings = [f"dataset.image_size={options.size}", f"training.seed={case[1]}", *options.set]
            return list(label(project, files, unlabelled, options.plan, *case, settings))

    print(f"| {COLUMNS} |\n|{'---|' * (COLUMNS.count('|') + 1)}")
    with ThreadPoolExecutor(options.jobs) as jobs:
        for (way, seed), lines in zip(cases, jobs.map(work, cases), strict=True):
            for each in lines:
                name = options.folder.name if options.folder else "ellipses"
                print(f"| {name} | {way} | {seed} | {each.masks} | {each.core} | {each.score:.4f} | {each.below} |")


def lay_out(files: Path, images: np.ndarray, masks: np.ndarray, test: int) -> list[str]:
    """Write the test pairs, and the images and masks that are not there yet; the names of these, in their order."""
    names = [f"{number:05}.png" for number in range(len(images))]
    for place, (name, image, mask) in enumerate(zip(names, images, masks, strict=True)):
        labelled = place >= len(images) - test
        save((files / "images/test" if labelled else files / "new") / name, image)
        save((files / "masks/test" if labelled else files / "drawer") / name, mask * np.uint8(255))
    return names[: len(names) - test]


def label(
    project: Path, files: Path, names: Sequence[str], plan: Plan, way: str, seed: int, settings: Sequence[str]
) -> Iterator[Bought]:
    """Buy masks time after time, each time in a folder of its own, so that earlier pairs keep their rows."""
    draw = np.random.default_rng(seed)
    chosen = [names[place] for place in draw.permutation(len(names))[: plan.first]]
    bought: list[str] = []
    for time in range(plan.times + 1):
        for name in chosen:
            for kind, source in (("images", "new"), ("masks", "drawer")):
                target = files / kind / f"{time:02}" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(files / source / name, target)
        bought += chosen
        changes = [
            "dataset.name=folder", f"dataset.path={files}", "dataset.train_count=null", "dataset.test_count=null",
            "dataset.images='images/**/*'", "dataset.masks='masks/**/*'", "dataset.test_pattern='^images/test/'",
            "judge.folds=0", *settings,
        ]  # fmt: skip
        if time:
            changes.append("select.start_from=kept")
        succeed(project, "dvc", "exp", "run", *(f"--set-param={each}" for each in changes), "evaluate")
        test, select = metrics(project, "evaluate")["test"], metrics(project, "select")
        yield Bought(len(bought), select["selected"], test["score"], test["below_bar"], [*bought])
        if time == plan.times:
            return
        (project / "kept").mkdir(exist_ok=True)
        for path in KEPT:
            shutil.copy(project / path, project / "kept")
        left = [name for name in names if name not in bought]
        if way == "triage":
            shutil.rmtree(project / "ranking", ignore_errors=True)
            succeed(project, "python", "-m", "stages.triage", str(files / "new"), "ranking")
            left = [line["file"] for line in read_table(project / "ranking/ranking.csv")]
        else:
            left = [left[place] for place in draw.permutation(len(left))]
        chosen = left[: plan.batch]


def _options() -> argparse.Namespace:
    parser = parser_of("labelling_loop", "Buy masks where they are needed most.", 200)
    parser.add_argument("--plan", type=lambda text: Plan(*map(int, text.split(","))), default=Plan(20, 20, 4, 500))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
