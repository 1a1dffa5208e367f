"""Plant wrong masks and look for them in data/suspects.csv: `python -m tests.wrong_masks [FOLDER] [OPTIONS]`.

Drawn ellipses, or tiles of the images and masks in FOLDER, become files; some of the masks are swapped among each
other, shifted by an eighth of the image, or emptied. The pipeline runs on them up to stage `evaluate`. A row says
how well the list finds the wrong ones (average precision over the pool) and how large the core is.
"""

import argparse
import itertools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from stages.datasets.ellipses import source
from stages.pairs.tables import read_table
from stages.pipeline import paths
from tests.files import make_folder
from tests.project import core_of, dataset_options, make_small_project, metrics, succeed

KINDS = ("swapped", "shifted", "emptied")
MODES = ("keep", "set_aside")
COLUMNS = (
    "data | wrong | share | set | seed | core | wrong ones in it | set aside | certified | pairs trained "
    "| average precision | minutes"
)


class Case(NamedTuple):
    """Which masks are wrong, how many of them, what the walk does with suspects, and the seed of it all."""

    kind: str
    share: float
    mode: str
    seed: int


def main() -> None:
    """Print a row for each case, in their order."""
    options = _options()
    images, masks = tiles(options.folder, options.size) if options.folder else drawn(options.size, options.pairs)
    images, masks = images[: options.pairs], masks[: options.pairs]
    cases = [Case(*each) for each in itertools.product(options.kinds, options.shares, options.modes, options.seeds)]

    def work(case: Case) -> str:
        return row(options.folder.name if options.folder else "ellipses", images, masks, case, options.set)

    print(f"| {COLUMNS} |\n|{'---|' * (COLUMNS.count('|') + 1)}")
    with ThreadPoolExecutor(options.jobs) as jobs:
        for line in jobs.map(work, cases):
            print(line, flush=True)


def row(name: str, images: np.ndarray, masks: np.ndarray, case: Case, settings: list[str]) -> str:
    """Run the pipeline on pairs of which some are spoilt; a row of the table."""
    spoilt, wrong = spoil(masks, case)
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{number:05}.png" for number in range(len(images))]
        make_folder(
            Path(folder) / "files",
            dict(zip(files, images, strict=True)),
            dict(zip(files, spoilt * np.uint8(255), strict=True)),
        )
        project = make_small_project(
            Path(folder) / "project", _parameters(Path(folder) / "files", images.shape[1], case)
        )
        changes = [f"--set-param={each}" for each in settings]
        succeed(project, "dvc", "exp", "run", *changes, "evaluate", TRAINCORE_THREADS="1")
        bad = {files[place] for place in np.flatnonzero(wrong)}
        suspects = [Path(line["file"]).name in bad for line in read_table(project / paths.SUSPECTS)]
        core = [Path(line["file"]).name in bad for line in core_of(project)]
        select = metrics(project, "select")
        seconds = sum(metrics(project, stage)["seconds"] for stage in ("seed", "select", "judge"))
    trained = select["pairs_trained"]
    return (
        f"| {name} | {case.kind} | {case.share:.0%} | {case.mode} | {case.seed} | {len(core)} of {len(suspects)} "
        f"| {sum(core)} of {sum(suspects)} | {select['set_aside']} | {select['certified']} | {trained:,} "
        f"| {average_precision(np.array(suspects)):.3f} | {seconds / 60:.1f} |"
    )


def spoil(masks: np.ndarray, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Masks of which some are wrong, and which those are.

    Parameters
    ----------
    masks : ndarray of uint8, shape (n, h, w)
        0 and 1.
    """
    spoilt, wrong = masks.copy(), np.zeros(len(masks), bool)
    places = np.random.default_rng(case.seed).choice(len(masks), round(case.share * len(masks)), replace=False)
    wrong[places] = True
    if case.kind == "swapped":
        spoilt[places] = masks[np.roll(places, 1)]
    elif case.kind == "shifted":
        height, width = (side // 8 for side in masks.shape[1:])
        spoilt[places] = np.roll(masks[places], (height, width), axis=(1, 2))
    else:
        spoilt[places] = 0
    return spoilt, wrong


def average_precision(found: np.ndarray) -> float:
    """Mean, over the wrong ones, of the share of wrong ones among the pairs down to each; found of shape (n,), bool."""
    if not found.any():
        return float("nan")
    return float((np.cumsum(found) / np.arange(1, len(found) + 1))[found].mean())


def _parameters(folder: Path, size: int, case: Case) -> dict[str, Any]:
    """What differs from the defaults."""
    return {
        "dataset": {"name": "folder", "path": str(folder), "image_size": size, "test_share": 0.1},
        "network": {"base_filters": 8},
        "training": {"seed": case.seed},
        "select": {"order_seed": case.seed, "on_suspect": case.mode},
    }


def drawn(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Ellipses: images of uint8 (n, size, size, 3), and masks of 0 and 1 (n, size, size)."""
    options = dataset_options("ellipses", image_size=size, train_count=count, test_count=1, train_seed=201)
    block = source(options, "train").draw(range(count))
    return block.images, block.targets[..., 0]


def tiles(folder: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Tiles of all images; what is dark in a mask is the foreground."""
    images, masks = [], []
    for path in sorted((folder / "images").iterdir()):
        image = np.asarray(Image.open(path).convert("RGB"))
        mask = np.asarray(Image.open(folder / "masks" / path.name).convert("L")) < 128
        for top, left in itertools.product(*(range(0, side - size + 1, size) for side in mask.shape)):
            window = slice(top, top + size), slice(left, left + size)
            images.append(image[window])
            masks.append(mask[window].astype(np.uint8))
    order = np.random.default_rng(0).permutation(len(images))
    return np.array(images)[order], np.array(masks)[order]


def parser_of(prog: str, description: str, pairs: int) -> argparse.ArgumentParser:
    """The options of a trial on images: which, how many, how large, with which seeds and parameters."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("folder", nargs="?", type=Path, help="with images/ and masks/; without it ellipses are drawn")
    parser.add_argument("--pairs", type=int, default=pairs)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--set", nargs="+", default=[], help="further parameters, as precision=0.5")
    return parser


def _options() -> argparse.Namespace:
    parser = parser_of("wrong_masks", "Plant wrong masks, and look for them.", 700)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--shares", nargs="+", type=float, default=[0.01, 0.05, 0.1])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    return parser.parse_args()


if __name__ == "__main__":
    main()
