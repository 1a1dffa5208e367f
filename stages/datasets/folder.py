"""A folder of one's own: images and masks in files, matched by their names."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.datasets.shared.find import examine, find_files, leave_out, match_by_stem, without_broken
from stages.datasets.shared.image import Header, read_header, read_image, require_promised
from stages.datasets.shared.mask import read_mask
from stages.datasets.shared.split import side_of
from stages.datasets.shared.tiles import Cut, TileSource, layout_of
from stages.pairs.layout import Origins
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import DatasetParams

IMAGES, MASKS = "images/*", "masks/*"


@dataclass(frozen=True)
class Folder(TileSource):
    """Tiles of the images of a folder that fall on one side of the split, and of their masks.

    Attributes
    ----------
    mask_values : list of int, optional
        Values in the files that belong to the mask.
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
        If there is no such folder, it holds no pairs, or ``strict`` and one of its files is damaged or without partner.
    """
    folder = Path(options.path)
    if not folder.is_dir():
        raise UserError(f"dataset.path is {options.path!r}, allowed is a folder with {IMAGES} and {MASKS}")
    pairs = _pairs(folder, options)
    side = [pairs[place] for place in side_of(item, [image for image, _ in pairs], options)]
    found = examine(lambda place: _examine(folder, *side[place], options), len(side))
    side, headers = without_broken(side, found, options.strict)
    cut = Cut.of(options)
    layout, tiles = layout_of(item, [image for image, _ in side], headers, cut, options)
    return Folder(folder, layout, Origins(side, tiles), cut, options.mask_values)


def _pairs(folder: Path, options: DatasetParams) -> list[tuple[str, str]]:
    """Images and their masks; a file without a partner is an error, or counted."""
    patterns = options.images or IMAGES, options.masks or MASKS
    found = [find_files(folder, pattern) for pattern in patterns]
    pairs, without_mask, without_image = match_by_stem(*found)
    if not pairs:
        raise UserError(
            f"{folder}: no pairs: {len(found[0])} images are {patterns[0]}, {len(found[1])} masks are {patterns[1]}, "
            "none of the same name; dataset.images and dataset.masks say where they are"
        )
    for lonely, partner in ((without_mask, "mask"), (without_image, "image")):
        leave_out(lonely, f"no {partner} of the same name", folder, options.strict)
    return pairs


def _examine(folder: Path, image: str, mask: str, options: DatasetParams) -> Header | UserError:
    """The head of an image, or an error in it or in its mask; both are read whole if they can be left out."""
    try:
        header, of_mask = read_header(folder / image), read_header(folder / mask)
        if header[:2] != of_mask[:2]:
            raise UserError(
                f"{folder / mask}: {of_mask.height}×{of_mask.width} pixels, "
                f"its image {image} has {header.height}×{header.width}"
            )
        if not options.strict:
            pixels, _ = _read(folder, image, mask, options.dtype, options.mask_values)
            require_promised(folder / image, pixels, header)
    except UserError as error:
        return error
    return header


def _read(folder: Path, image: str, mask: str, dtype: str, values: list[int] | None) -> tuple[np.ndarray, np.ndarray]:
    return read_image(folder / image, dtype), read_mask(folder / mask, values)
