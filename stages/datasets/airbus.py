"""Kaggle's Airbus Ship Detection Challenge: a folder of JPEGs, and a table of ships as run-length-encoded masks.

The table has the columns ``ImageId`` and ``EncodedPixels`` and a line a ship: "start length start length …", column by
column from the top left pixel, which is 1; empty where an image has no ship.
https://www.kaggle.com/competitions/airbus-ship-detection/data
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.datasets import images
from stages.datasets.images import Header
from stages.datasets.tiles import Cut, TileSource, layout_of
from stages.errors import UserError
from stages.params import DatasetParams
from stages.store import Origins

IMAGES, TABLE = "train_v2/*.jpg", "train_ship_segmentations_v2.csv"
HEADER = ["ImageId", "EncodedPixels"]


@dataclass(frozen=True)
class Airbus(TileSource):
    """Tiles of the images that fall on one side of the split, and masks of all ships in them.

    Attributes
    ----------
    runs : sequence of ndarray of int32, shape (m, 2)
        For each image where its runs start, counted from 0, and how long they are.
    """

    runs: Sequence[np.ndarray]

    def read(self, file: int) -> tuple[np.ndarray, np.ndarray]:
        """An image and the mask of its ships."""
        image = images.read_image(self.folder / self.origins.files[file][0], self.layout.dtype)
        return image, mask_of(self.runs[file], *image.shape[:2])


def source(options: DatasetParams, item: str) -> Airbus:
    """The tiles of one side of the split, in the order of their images' paths.

    Raises
    ------
    UserError
        If the folder does not hold that, or ``strict`` forbids what is wrong in it.
    """
    folder = Path(options.path)
    if not folder.is_dir():
        raise UserError(f"dataset.path is {options.path!r}, allowed is a folder with {IMAGES} and {TABLE}")
    ships = _read_table(folder, folder / (options.masks or TABLE))
    paths = _paths(folder, options, ships)
    side = [paths[place] for place in images.side_of(item, paths, options)]
    found = images.look_at(lambda place: _look_at(folder, side[place], ships, options), len(side))
    side, headers = images.without_broken(side, found, options.strict)
    runs = [_runs_of(ships[Path(path).name]) for path in side]
    _count_overlaps(folder, side, runs, options.strict)
    cut = Cut.of(options)
    layout, tiles = layout_of(item, side, headers, cut, options)
    return Airbus(folder, layout, Origins([[path] for path in side], tiles), cut, runs)


def mask_of(runs: np.ndarray, height: int, width: int) -> np.ndarray:
    """The mask that some runs make.

    Parameters
    ----------
    runs : ndarray of int, shape (m, 2)
        Starts, counted from 0 column by column, and lengths; all within the image.
    height, width : int
        Of the image.

    Returns
    -------
    ndarray of uint8, shape (height, width, 1)
        0 and 1.
    """
    # How many runs cover a pixel is how many have started less how many have ended.
    steps = np.zeros(height * width + 1, np.int32)
    np.add.at(steps, runs[:, 0], 1)
    np.add.at(steps, runs.sum(axis=1), -1)
    covered = np.cumsum(steps[:-1]) > 0
    return np.ascontiguousarray(covered.reshape(width, height).T.astype(np.uint8))[:, :, None]


def _read_table(folder: Path, path: Path) -> dict[str, list[str]]:
    """The encoded ships of each image, by its name; read once, line by line."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            if not path.resolve().is_relative_to(folder.resolve()):
                raise UserError(f"{path}: leads out of {folder}, allowed are files in it")
            lines = csv.reader(file)
            header = next(lines, [])
            if header != HEADER:
                raise UserError(f"{path}: first line {','.join(header)[:80]!r}, expected {','.join(HEADER)!r}")
            ships: dict[str, list[str]] = {}
            for line in lines:
                if len(line) != 2:
                    raise UserError(f"{path}: line {lines.line_num} has {len(line)} columns, expected 2")
                if not line[0].isprintable():
                    raise UserError(
                        f"{path}: line {lines.line_num} names {line[0][:60]!r}, expected printable characters"
                    )
                ships.setdefault(line[0], []).append(line[1])
            return ships
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path}: cannot be read: {reason}; dataset.masks names the table below dataset.path") from None


def _paths(folder: Path, options: DatasetParams, ships: dict[str, list[str]]) -> list[str]:
    """Images that the table names; what is in one of both alone is an error, or counted."""
    pattern = options.images or IMAGES
    found = images.find(folder, pattern)
    names = {Path(path).name for path in found}
    if len(names) < len(found):
        raise UserError(f"{folder}: {len(found) - len(names)} images of {pattern} have the name of another")
    known = [path for path in found if Path(path).name in ships]
    if not known:
        raise UserError(f"{folder}: none of {len(found)} images of {pattern} is one of the {len(ships)} of the table")
    images.leave_out(
        [path for path in found if Path(path).name not in ships], "not in the table", folder, options.strict
    )
    images.leave_out(sorted(set(ships) - names), "in the table, but no such image", folder, options.strict)
    return known


def _look_at(folder: Path, path: str, ships: dict[str, list[str]], options: DatasetParams) -> Header | UserError:
    """What the head of an image says, or what is wrong with it or its runs; all is read if it can be left out."""
    try:
        header = images.read_header(folder / path)
        _check_runs(folder / path, ships[Path(path).name], header)
        if not options.strict:
            images.require_promised(folder / path, images.read_image(folder / path, options.dtype), header)
    except UserError as error:
        return error
    return header


def _check_runs(path: Path, encoded: list[str], header: Header) -> None:
    for ship in encoded:
        numbers = ship.split()
        if len(numbers) % 2 or not all(
            number.isascii() and number.isdigit() and len(number) < 10 for number in numbers
        ):
            raise UserError(f"{path}: a bad run in {ship[:60]!r}, expected pairs of a start and a length")
    runs = _runs_of(encoded)
    if runs.size and (runs.min(axis=0) < (0, 1)).any():
        raise UserError(f"{path}: a run that starts below 1 or is shorter than that")
    if runs.size and runs.sum(axis=1).max() > header.height * header.width:
        raise UserError(f"{path}: a run that ends behind the last of {header.height}×{header.width} pixels")


def _runs_of(encoded: list[str]) -> np.ndarray:
    """The runs of all ships of an image; int32, shape (m, 2), starts counted from 0."""
    runs = np.array(" ".join(encoded).split(), np.int32).reshape(-1, 2)
    return runs - np.array([1, 0], np.int32)


def _count_overlaps(folder: Path, paths: Sequence[str], runs: Sequence[np.ndarray], strict: bool) -> None:
    """Say which images have runs that share pixels, which belong to the mask like others."""
    overlapping = [path for path, each in zip(paths, runs, strict=True) if _overlap(each)]
    if not overlapping:
        return
    line = f"{folder / overlapping[0]}: runs that overlap"
    if strict:
        more = f"; and {len(overlapping) - 1} more" if len(overlapping) > 1 else ""
        raise UserError(f"{line}{more}; dataset.strict=false takes their union")
    images.warn(f"{len(overlapping)} images whose runs overlap, of which the union is taken: {line}")


def _overlap(runs: np.ndarray) -> bool:
    runs = runs[np.argsort(runs[:, 0])]
    return bool((runs[:-1].sum(axis=1) > runs[1:, 0]).any())
