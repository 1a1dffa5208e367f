"""A folder of one's own: images and masks in files, matched by their names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.datasets.shared.classes import ClassRule, class_rule
from stages.datasets.shared.decode import read_header
from stages.datasets.shared.find import NOT_READ, LeftOut, find_files, warn
from stages.datasets.shared.mask import Rule, Seen
from stages.datasets.shared.names import image_name_of, match, stem_of
from stages.datasets.shared.raster import Header
from stages.datasets.shared.sift import existing_folder, files_of_side, sound_files
from stages.datasets.shared.tiles import Cut, TileSource, layout_of
from stages.pairs.layout import Origins
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import DatasetParams

IMAGES, MASKS = "images/*", "masks/*"


@dataclass(frozen=True)
class Folder(TileSource):
    """Tiles of the images of a folder that fall on one side of the split, and of their masks."""

    def read(self, file: int, page: int) -> tuple[np.ndarray, np.ndarray, Seen]:
        """An image and its mask."""
        return self.image(file, page), *self.rule.read(self.folder / self.origins.files[file][1], page)


def source(options: DatasetParams, item: str) -> Folder:
    """The tiles of one side of the split, in the order of their images' paths.

    Raises
    ------
    UserError
        If there is no such folder, it holds no pairs, or ``strict`` and one of its files is damaged or without partner.
    """
    folder = existing_folder(options.path, f"{IMAGES} and {MASKS}")
    left_out = LeftOut(folder, options.strict)
    pairs, headers, values = sound_files(
        _pairs(options, left_out), lambda pair: _header(folder, *pair), left_out, options
    )
    rule: Rule | ClassRule = Rule(options.mask_values, options.mask_threshold)
    if options.classes is not None:  # before the sets are parted, so that both have the same
        masks = [(folder / mask, header.pages) for (_, mask), header in zip(pairs, headers, strict=True)]
        rule = class_rule(options, masks)
    classes = rule.classes if isinstance(rule, ClassRule) else ()
    pairs, headers = files_of_side(item, pairs, headers, values, rule, left_out, options)
    cut = Cut.of(options)
    layout, tiles = layout_of(item, headers, left_out, cut, options, classes)
    return Folder(folder, layout, Origins(pairs, tiles), left_out, cut, values, rule, classes)


def _pairs(options: DatasetParams, left_out: LeftOut) -> list[tuple[str, str]]:
    """Images and their masks; a file without a partner is an error, or counted."""
    patterns = options.images or IMAGES, options.masks or MASKS
    images, masks = (find_files(left_out.folder, pattern) for pattern in patterns)
    both = set(images.images) & set(masks.images)
    if both and both == set(images.images):
        raise UserError(
            f"{left_out.folder / min(both)}: an image by {patterns[0]} and a mask by {patterns[1]}; "
            "allowed are patterns that tell images from masks"
        )
    names = [path for path in images.images if path not in both]
    pairs, without_mask, without_image = match(names, masks.images)
    if not pairs:
        others = [*images.others, *masks.others]
        not_read = f"; {len(others)} files, as {others[0]}, are {NOT_READ}" if others else ""
        raise UserError(
            f"{left_out.folder}: no pairs: {len(names)} images are {patterns[0]}, {len(masks.images)} masks are "
            f"{patterns[1]}, and none has the name of an image, or that with _mask, _label, _gt or _seg behind it"
            f"{not_read}; dataset.images and dataset.masks are patterns that say where they are, other names have to "
            "be changed"
        )
    left_out.skip([*images.hidden, *masks.hidden], "a hidden file")
    for pattern, found, of_others in zip(patterns, (images, masks), (masks.images, images.images), strict=True):
        missed = [each for each in found.folders if not any(path.startswith(f"{each}/") for path in of_others)]
        if missed:
            where = left_out.folder / missed[0]
            warn(f"{len(missed)} folders with images that {pattern} does not reach, as {where}; one with ** does")
    _warn_of_crossing(pairs)
    stems = {stem_of(path): path for path in [*names, *images.others]}
    paired, of_masks = {stem_of(image) for image, _ in pairs}, {image_name_of(path, stems) for path in masks.images}
    left = [path for path in images.others if stem_of(path) in of_masks]
    left += [path for path in masks.others if image_name_of(path, stems) in stems]
    beside = [path for path in left if image_name_of(path, stems) in paired and len(paired) == len(pairs)]
    left_out.skip(beside, "not read, and beside a pair of its name")
    left_out.add(sorted({*left}.difference(beside)), NOT_READ)
    left_out.add(without_mask, "no mask of the same name")
    left_out.add(without_image, "no image of the same name")
    return pairs


def _warn_of_crossing(pairs: Sequence[tuple[str, str]]) -> None:
    """Say that masks lie in another folder than their images, if both have folders of these names."""
    parents = [(Path(image).parent.parts, Path(mask).parent.parts) for image, mask in pairs]
    # What all images have, and all masks, as `images` and `masks`, does not tell folders apart.
    all_images, all_masks = (set.intersection(*map(set, side)) for side in zip(*parents, strict=True))
    folders = [
        (tuple(each for each in one if each not in all_images), tuple(each for each in other if each not in all_masks))
        for one, other in parents
    ]
    of_images, of_masks = map(set, zip(*folders, strict=True))
    across = [
        pair
        for pair, (one, other) in zip(pairs, folders, strict=True)
        if one != other and one in of_masks and other in of_images
    ]
    if across:
        warn(f"{len(across)} masks lie in another folder than their images, as {across[0][1]} for {across[0][0]}")


def _header(folder: Path, image: str, mask: str) -> Header:
    """The head of an image, which has to go with that of its mask."""
    header, of_mask = read_header(folder / image), read_header(folder / mask)
    if header[:2] != of_mask[:2]:
        turned = header.turned and (header.width, header.height) == of_mask[:2]
        raise UserError(
            f"{folder / mask}: {of_mask.height}×{of_mask.width} pixels, its image {image} has "
            f"{header.height}×{header.width}{' as EXIF turns it; the mask fits it as it is stored' if turned else ''}"
        )
    if of_mask.turned and not header.turned:
        raise UserError(
            f"{folder / mask}: turned, as its orientation by EXIF or TIFF says, and its image {image} is not; allowed "
            "are masks that lie as their images do, without an orientation"
        )
    if header.pages != of_mask.pages:
        raise UserError(
            f"{folder / mask}: {of_mask.pages} pages, its image {image} has {header.pages}; allowed are as many"
        )
    if min(len(header.stack), len(of_mask.stack)) > 1 and header.stack != of_mask.stack:
        raise UserError(
            f"{folder / mask}: pages {', '.join(of_mask.stack)}, those of its image {image} are "
            f"{', '.join(header.stack)}; allowed are stacks in the same order"
        )
    return header
