"""A folder of one's own: images and masks in files, matched by their names."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.datasets import images
from stages.datasets.images import Header
from stages.datasets.tiles import Cut, TileSource, layout_of
from stages.errors import UserError
from stages.params import DatasetParams
from stages.store import Origins

IMAGES, MASKS = "images/*", "masks/*"


@dataclass(frozen=True)
class Folder(TileSource):
    """Tiles of the images of a folder that fall on one side of the split, and of their masks.

    Attributes
    ----------
    mask_values : list of int, optional
        Labels that belong to the mask.
    """

    mask_values: list[int] | None

    def read(self, file: int) -> tuple[np.ndarray, np.ndarray]:
        """An image and its mask."""
        image, mask = self.origins.files[file]
        return _read(self.folder, image, mask, self.layout.dtype, self.mask_values)


def source(options: DatasetParams, item: str) -> Folder:
    """The tiles of one side of the split, in the order of their images' paths.

    Raises
    ------
    UserError
        If there is no such folder, it holds no pairs, they do not fit each other, or ``strict`` forbids what is wrong.
    """
    folder = Path(options.path)
    if not folder.is_dir():
        raise UserError(f"dataset.path is {options.path!r}, allowed is a folder with {IMAGES} and {MASKS}")
    pairs = _pairs(folder, options)
    side = [pairs[place] for place in images.side_of(item, [image for image, _ in pairs], options)]
    found = images.look_at(lambda place: _look_at(folder, *side[place], options), len(side))
    side, headers = images.without_broken(side, found, options.strict)
    cut = Cut.of(options)
    layout, tiles = layout_of(item, [image for image, _ in side], headers, cut, options)
    return Folder(folder, layout, Origins(side, tiles), cut, options.mask_values)


def _pairs(folder: Path, options: DatasetParams) -> list[tuple[str, str]]:
    """Images and their masks; what has no partner is an error, or counted."""
    patterns = options.images or IMAGES, options.masks or MASKS
    found = [images.find(folder, pattern) for pattern in patterns]
    pairs, without_mask, without_image = images.match(*found)
    if not pairs:
        raise UserError(
            f"{folder}: no pairs: {len(found[0])} images are {patterns[0]}, {len(found[1])} masks are {patterns[1]}, "
            "none of the same name; dataset.images and dataset.masks say where they are"
        )
    for lonely, partner in ((without_mask, "mask"), (without_image, "image")):
        images.leave_out(lonely, f"no {partner} of the same name", folder, options.strict)
    return pairs


def _look_at(folder: Path, image: str, mask: str, options: DatasetParams) -> Header | UserError:
    """What the head of an image says, or what is wrong with it or its mask; all is read if it can be left out."""
    try:
        header, of_mask = images.read_header(folder / image), images.read_header(folder / mask)
        if header[:2] != of_mask[:2]:
            raise UserError(
                f"{folder / mask}: {of_mask.height}×{of_mask.width} pixels, "
                f"its image {image} has {header.height}×{header.width}"
            )
        if not options.strict:
            pixels, _ = _read(folder, image, mask, options.dtype, options.mask_values)
            images.require_promised(folder / image, pixels, header)
    except UserError as error:
        return error
    return header


def _read(folder: Path, image: str, mask: str, dtype: str, values: list[int] | None) -> tuple[np.ndarray, np.ndarray]:
    return images.read_image(folder / image, dtype), images.read_mask(folder / mask, values)
