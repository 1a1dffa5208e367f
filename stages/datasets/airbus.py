"""Kaggle's Airbus Ship Detection Challenge: a folder of JPEGs, and a table of ships as run-length-encoded masks.

The table has the columns ``ImageId`` and ``EncodedPixels`` and a line a ship: "start length start length …", column by
column from the top left pixel, which is 1; empty where an image has no ship.
https://www.kaggle.com/competitions/airbus-ship-detection/data
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.datasets.shared.decode import read_header
from stages.datasets.shared.find import NOT_READ, LeftOut, find_files, warn
from stages.datasets.shared.mask import Rule, Seen
from stages.datasets.shared.raster import Header
from stages.datasets.shared.sift import existing_folder, files_of_side, require_null, sound_files
from stages.datasets.shared.tiles import Cut, TileSource, layout_of
from stages.pairs.layout import Origins
from stages.pairs.tables import read_lines, write_csv
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import DatasetParams

IMAGES, TABLE = "train_v2/*.jpg", "train_ship_segmentations_v2.csv"
COLUMNS = ("ImageId", "EncodedPixels")
CLASS = "ClassId"  # a column of tables of the same form, as Severstal's
NO_SHIP = {"", "nan"}  # in small letters; pandas writes the latter


@dataclass(frozen=True)
class Airbus(TileSource):
    """Tiles of the images that fall on one side of the split, and masks of all ships in them.

    Attributes
    ----------
    runs : sequence of ndarray of int32, shape (m, 2)
        For each image the starts of its runs, counted from 0, and their lengths.
    """

    runs: Sequence[np.ndarray]

    def read(self, file: int, page: int) -> tuple[np.ndarray, np.ndarray, Seen]:
        """An image and the mask of its ships."""
        image = self.image(file, page)
        mask = mask_of(self.runs[file], *image.shape[:2])
        return image, mask, Seen(tuple(np.unique(mask).tolist()), False, int(mask.sum()), mask.size)


def source(options: DatasetParams, item: str) -> Airbus:
    """The tiles of one side of the split, in the order of their images' paths.

    Raises
    ------
    UserError
        If the folder does not hold images and their table, or ``strict`` and one of them is damaged.
    """
    folder = existing_folder(options.path, f"{IMAGES} and {TABLE}")
    require_null(options, "mask_values", "mask_threshold")
    ships = _read_table(folder, folder / (options.masks or TABLE))
    left_out, rule = LeftOut(folder, options.strict), Rule()
    images = [(path,) for path in _paths(options, ships, left_out)]
    files, headers, values = sound_files(images, lambda file: _header(folder / file[0], ships), left_out, options)
    files, headers = files_of_side(item, files, headers, values, rule, left_out, options)
    runs = [_runs_of(ships[Path(path).name]) for (path,) in files]
    _count_overlaps(folder, [path for (path,) in files], runs, options.strict)
    cut = Cut.of(options)
    layout, tiles = layout_of(item, headers, left_out, cut, options)
    return Airbus(folder, layout, Origins(files, tiles), left_out, cut, values, rule, (), runs)


def copy_table(folder: Path, masks: str | None, paths: Iterable[str], target: Path) -> None:
    """Copy the lines of the table that belong to some images.

    Parameters
    ----------
    folder : Path
        The folder of images and table.
    masks : str, optional
        ``dataset.masks``, where the table stands.
    paths : iterable of str
        The images, below that folder.
    target : Path
        The folder to copy to.
    """
    name, names = masks or TABLE, {Path(path).name for path in paths}
    lines = [[line.texts[column] for column in COLUMNS] for line in read_lines(folder / name, *COLUMNS)]
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    write_csv(target / name, COLUMNS, [line for line in lines if line[0] in names])


def mask_of(runs: np.ndarray, height: int, width: int) -> np.ndarray:
    """The mask that some runs make.

    Parameters
    ----------
    runs : ndarray of int, shape (m, 2)
        Starts, counted from 0 column by column, and lengths; all within the image.
    height, width : int
        Size of the image, in pixels.

    Returns
    -------
    ndarray of uint8, shape (height, width, 1)
        0 and 1.
    """
    # As many runs cover a pixel as have started, less those that have ended.
    steps = np.zeros(height * width + 1, np.int32)
    np.add.at(steps, runs[:, 0], 1)
    np.add.at(steps, runs.sum(axis=1), -1)
    covered = np.cumsum(steps[:-1]) > 0
    return np.ascontiguousarray(covered.reshape(width, height).T.astype(np.uint8))[:, :, None]


def _read_table(folder: Path, path: Path) -> dict[str, list[str]]:
    """The encoded ships of each image, by its name; read once, line by line."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{path}: leads out of {folder}, allowed are files in it")
    ships: dict[str, list[str]] = {}
    classes: set[str | None] = set()
    try:
        for line in read_lines(path, *COLUMNS):
            name = line.value("ImageId", _printable, "a name of printable characters")
            ship = line.texts["EncodedPixels"]
            ships.setdefault(name, []).append("" if ship.strip().lower() in NO_SHIP else ship)
            classes |= {line.texts.get(CLASS)} - {None, ""}
    except UserError as error:
        raise UserError(f"{error}; dataset.masks names the table below dataset.path") from None
    if len(classes) > 1:
        warn(f"{path}: {len(classes)} values of {CLASS}, which make one mask here; data set coco tells classes apart")
    return ships


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError
    return name


def _paths(options: DatasetParams, ships: dict[str, list[str]], left_out: LeftOut) -> list[str]:
    """Images that the table names; an image without a line and a line without an image are an error, or counted."""
    folder, pattern = left_out.folder, options.images or IMAGES
    found, hidden, others, _ = find_files(folder, pattern)
    names = {Path(path).name for path in found}
    if len(names) < len(found):
        raise UserError(f"{folder}: {len(found) - len(names)} images of {pattern} have the name of another")
    known = [path for path in found if Path(path).name in ships]
    if not known:
        raise UserError(f"{folder}: none of {len(found)} images of {pattern} is one of the {len(ships)} of the table")
    left_out.skip(hidden, "a hidden file")
    left_out.add([path for path in others if Path(path).name in ships], NOT_READ)
    left_out.add([path for path in found if Path(path).name not in ships], "not in the table")
    there = names | {Path(path).name for path in (*hidden, *others)}
    left_out.add(sorted(set(ships) - there), "in the table, but no such image")
    return known


def _header(path: Path, ships: dict[str, list[str]]) -> Header:
    """The head of an image, which has to go with its runs."""
    header = read_header(path)
    if header.pages > 1:
        raise UserError(f"{path}: {header.pages} pages, allowed is one")
    _check_runs(path, ships[path.name], header)
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
    warn(f"{len(overlapping)} images whose runs overlap, of which the union is taken: {line}")


def _overlap(runs: np.ndarray) -> bool:
    runs = runs[np.argsort(runs[:, 0])]
    return bool((runs[:-1].sum(axis=1) > runs[1:, 0]).any())
