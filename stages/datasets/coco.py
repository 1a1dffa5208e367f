"""COCO's format: a folder of images, and a JSON file of the objects in them, as polygons or run-length encodings.

https://cocodataset.org/#format-data
"""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import numpy as np

from stages.datasets.shared.classes import BACKGROUND, is_background
from stages.datasets.shared.coco_file import Listed, Object, read_coco, sections
from stages.datasets.shared.colors import default_color
from stages.datasets.shared.decode import read_header
from stages.datasets.shared.find import NOT_READ, LeftOut, find_files, warn
from stages.datasets.shared.mask import Rule, Seen
from stages.datasets.shared.names import by_name, is_path_of, lookup
from stages.datasets.shared.raster import Header
from stages.datasets.shared.runs import Painted, count_pixels, mask_of, overlap, shown
from stages.datasets.shared.sift import existing_folder, files_of_side, require_null, sound_files
from stages.datasets.shared.tiles import Cut, TileSource, layout_of
from stages.pairs.layout import IGNORED, Origins, PixelClass
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import MOST_CLASSES, DatasetParams

IMAGES, ANNOTATIONS = "**/*", "annotations.json"
PLACES = ("*.json", "annotations/*.json")  # where else the annotations may be
KEYS = {"images": "id", "annotations": "image_id"}  # where they name an image
TURNED = "; allowed is its size as it is shown, after EXIF has turned it, and objects that are drawn on it so"


@dataclass(frozen=True)
class Coco(TileSource):
    """Tiles of the images that fall on one side of the split, and masks of the objects in them.

    Attributes
    ----------
    objects : sequence of sequence of (int, bytes)
        For each image the values and the runs of its objects, of which later ones lie on top.
    """

    objects: Sequence[Painted]

    def read(self, file: int, page: int) -> tuple[np.ndarray, np.ndarray, Seen]:
        """An image and the mask of its objects."""
        image = self.image(file, page)
        mask = mask_of(self.objects[file], *image.shape[:2])
        pixels = np.bincount(mask.ravel(), minlength=IGNORED + 1)
        values = tuple(np.flatnonzero(pixels).tolist())
        return image, mask, Seen(values, False, int(pixels[1:IGNORED].sum()), mask.size)


def source(options: DatasetParams, item: str) -> Coco:
    """The tiles of one side of the split, in the order of their images' paths.

    Raises
    ------
    UserError
        If the folder does not hold images and their annotations, or ``strict`` and one of them is damaged.
    """
    folder = existing_folder(options.path, f"images and {ANNOTATIONS}")
    require_null(options, "mask_values", "mask_threshold", "class_colors", "ignore_value")
    left_out, rule = LeftOut(folder, options.strict), Rule()
    name = _annotations_of(folder, options.masks)
    listed, categories = read_coco(folder, name, left_out)
    value_of, classes = _classes(folder / name, options.classes, categories, options.strict)
    image_of = _image_of(listed, name, options.images or IMAGES, left_out)
    files, headers, values = sound_files(
        [(path,) for path in sorted(image_of)],
        lambda file: _header(folder / file[0], image_of[file[0]], name),
        left_out,
        options,
    )
    files, headers = files_of_side(item, files, headers, values, rule, left_out, options)
    images = {path: image_of[path] for (path,) in files}
    objects = [_painted(image, value_of, bool(classes)) for image in images.values()]
    _count_odd(left_out, images, objects, {number for number, value in value_of.items() if value and classes})
    cut = Cut.of(options)
    layout, tiles = layout_of(item, headers, left_out, cut, options, classes)
    return Coco(folder, layout, Origins(files, tiles), left_out, cut, values, rule, classes, objects)


def copy_annotations(folder: Path, images: str | None, masks: str | None, paths: Iterable[str], target: Path) -> None:
    """Copy the annotations of some images, as they are written, with all categories.

    Parameters
    ----------
    folder : Path
        The folder of images and annotations.
    images, masks : str, optional
        ``dataset.images`` and ``dataset.masks``, where both stand.
    paths : iterable of str
        The images, below that folder.
    target : Path
        The folder to copy to.
    """
    name, chosen = _annotations_of(folder, masks), {(path,) for path in paths}
    files = by_name(find_files(folder, images or IMAGES).images)
    numbers: set[int | float | str | None] = set()
    for key, _, values in sections(folder / name):
        for value, _ in values if key == "images" else ():
            if isinstance(value, dict) and tuple(lookup(str(value.get("file_name")), files)) in chosen:
                numbers.add(_number(value, "id"))

    def is_kept(key: str, value: Any) -> bool:
        number = _number(value, KEYS[key])
        return number is not None and number in numbers  # also if 1 is written as 1.0

    lines = []
    for key, is_list, values in sections(folder / name):
        kept = [text for value, text in values if key not in KEYS or is_kept(key, value)]
        lines.append(f"{json.dumps(key)}: " + ("[\n" + ",\n".join(kept) + "\n]" if is_list else kept[0]))
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    (target / name).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _number(value: Any, key: str) -> int | float | str | None:
    """What an entry gives for its image's number, if that can be one."""
    number = value.get(key) if isinstance(value, dict) else None
    return number if isinstance(number, int | float | str) else None


def _annotations_of(folder: Path, masks: str | None) -> str:
    """The file of annotations, below the folder."""
    if masks is None and not (folder / ANNOTATIONS).exists():
        found = sorted(path.relative_to(folder).as_posix() for place in PLACES for path in folder.glob(place))
        if len(found) != 1:
            several = f"which of {', '.join(found[:5])}{', …' if found[5:] else ''} holds the annotations?"
            none = f"no {ANNOTATIONS}, and no {' or '.join(PLACES)} in its place"
            raise UserError(f"{folder}: {several if found else none}; dataset.masks says where they are")
        masks = found[0]
    name = masks or ANNOTATIONS
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{folder / name}: leads out of {folder}, allowed are files in it")
    return name


def _image_of(listed: Sequence[Listed], name: str, pattern: str, left_out: LeftOut) -> dict[str, Listed]:
    """Images that are listed, by their files; a file that is not listed and the reverse are an error, or counted."""
    found = find_files(left_out.folder, pattern)
    files, not_read = by_name(found.images), by_name(found.others)
    images: dict[str, list[Listed]] = defaultdict(list)
    faults: dict[str, list[str]] = defaultdict(list)
    for image in listed:
        paths, label = lookup(image.name, files), f"{name}: image {shown(image.number)}, {shown(image.name)}"
        if len(paths) == 1:
            images[paths[0]].append(image)
        elif paths:
            faults["several files have that name"].append(label)
        elif lookup(image.name, not_read):
            faults[NOT_READ].append(label)
        else:
            faults[f"no such file among {pattern}"].append(label)
    elsewhere = [
        (image.name, path) for path, each in images.items() for image in each if not is_path_of(image.name, path)
    ]
    if elsewhere:
        warn(
            f"{len(elsewhere)} images of {name} are found by the last part of their file_name alone, as "
            f"{shown(elsewhere[0][0])} at {elsewhere[0][1]}"
        )
    shared = [path for path, each in images.items() if len(each) > 1]
    left_out.add(shared, f"several images of {name} have this file")
    if len(shared) == len(images):
        raise UserError(
            f"{left_out.folder}: none of {len(found.images)} images of {pattern} is among the {len(listed)} of {name} "
            "by its file_name; dataset.images is a pattern that says where they are"
        )
    left_out.skip(found.hidden, "a hidden file")
    for why, labels in faults.items():
        left_out.add(labels, why)
    left_out.add([path for path in found.images if path not in images], f"not in {name}")
    return {path: each[0] for path, each in images.items() if len(each) == 1}


def _classes(
    path: Path, chosen: Literal["all"] | list[str] | None, categories: Mapping[int, str], strict: bool
) -> tuple[dict[int, int], list[PixelClass]]:
    """The value of the pixels of each category that is named, 0 for the background, and the classes they stand for."""
    if chosen is None:
        return {number: int(not is_background(category)) for number, category in categories.items()}, []
    number_of: dict[str, int] = {}
    for number, category in sorted(categories.items()):
        if number_of.setdefault(category, number) != number:
            line = f"{path}: categories {number_of[category]} and {number} are both called {category!r}"
            if strict:
                raise UserError(f"{line}; dataset.strict=false takes them as one class")
            warn(f"{line}, and are taken as one class")
    names = [each for each in (number_of if chosen == "all" else chosen) if not is_background(each)]
    unknown = [each for each in names if each not in number_of]
    if unknown:
        known = shorten(", ".join(number_of), 400, placeholder=" …")
        raise UserError(f"dataset.classes names {unknown[0]!r}, allowed are the categories of {path}: {known}")
    if not 0 < len(names) <= MOST_CLASSES:
        raise UserError(
            f"dataset.classes makes {len(names)} classes of {path}, allowed are 1 to {MOST_CLASSES}; name some"
        )
    value_of = {each: value for value, each in enumerate(names, 1)}
    colored = [PixelClass(each, number_of[each], default_color(value)) for each, value in value_of.items()]
    classes = [PixelClass(BACKGROUND, 0, default_color(0)), *colored]
    asked = {number: each for number, each in categories.items() if each in value_of or is_background(each)}
    return {number: value_of.get(each, 0) for number, each in asked.items()}, classes


def _header(path: Path, image: Listed, name: str) -> Header:
    """The head of an image, which has to go with what the annotations say of it."""
    header = read_header(path)
    if header.pages > 1:
        raise UserError(f"{path}: {header.pages} pages, allowed is one")
    if header[:2] != (image.height, image.width):
        turned = (header.width, header.height) == (image.height, image.width)
        raise UserError(
            f"{path}: {header.height}×{header.width} pixels, image {shown(image.number)} of {name} has "
            f"{image.height}×{image.width}{TURNED if turned else ''}"
        )
    if image.fault:
        raise UserError(f"{path}: {image.fault}; in {name}")
    return header


def _painted(image: Listed, value_of: Mapping[int, int], with_classes: bool) -> Painted:
    """The objects of an image, small ones on top of large ones, and all of them on top of crowds.

    So do those of the background, which cut holes, unless they are as large as a crowd: then they are what it lies on.
    """
    drawn = [(value_of[each.category], each.crowd, each.runs) for each in image.objects if each.category in value_of]
    if not with_classes and all(value for value, *_ in drawn):
        return [(value, runs) for value, _, runs in drawn]
    pixels = {runs: count_pixels([runs], image.height, image.width) for _, _, runs in drawn}
    crowds = [pixels[runs] for value, is_crowd, runs in drawn if is_crowd and value]
    crowd = max(crowds, default=image.height * image.width + 1)
    drawn.sort(key=lambda each: (not each[1] and (each[0] > 0 or pixels[each[2]] < crowd), -pixels[each[2]]))
    return [(IGNORED if crowd and value and with_classes else value, runs) for value, crowd, runs in drawn]


def _count_odd(
    left_out: LeftOut, images: Mapping[str, Listed], objects: Sequence[Painted], classes: Collection[int]
) -> None:
    """Say how many objects reach out of their images or cover no pixel, and in how many images classes overlap.

    And how many are crowds of the categories that are classes: some programs call all that is painted so.

    Raises
    ------
    UserError
        If ``strict``, and most objects lie elsewhere than their boxes say.
    """
    folder = left_out.folder

    def named(is_odd: Callable[[Object, Listed], bool]) -> list[str]:
        return [
            f"{path}: annotation {shown(each.number)}"
            for path, image in images.items()
            for each in image.objects
            if is_odd(each, image)
        ]

    crowds = named(lambda each, _: each.crowd and each.category in classes)
    if crowds:
        warn(f"{len(crowds)} objects have iscrowd=1; what no other covers is ignored: {folder / crowds[0]}")
    clipped = named(lambda each, _: each.clipped)
    if clipped:
        warn(f"{len(clipped)} objects clipped, which reach out of their images: {folder / clipped[0]}")
    elsewhere, count = named(lambda each, _: each.elsewhere), sum(len(image.objects) for image in images.values())
    if elsewhere:
        line = f"{len(elsewhere)} of {count} objects lie elsewhere than their bbox says: {folder / elsewhere[0]}"
        if left_out.strict and 2 * len(elsewhere) > count:
            raise UserError(
                f"{line}; is y before x, the image of another size, or are runs row by row? dataset.strict=false takes "
                "them so"
            )
        warn(line)
    larger = named(lambda each, _: each.other_area)
    if larger:
        warn(
            f"{len(larger)} of {count} objects cover another area than they say (a polygon in a polygon is no hole): "
            f"{folder / larger[0]}"
        )
    empty = named(lambda each, image: not count_pixels([each.runs], image.height, image.width))
    if empty:
        warn(f"{len(empty)} objects cover no pixel: {folder / empty[0]}")
    places = zip(images.items(), objects, strict=True)
    mixed = [path for (path, image), each in places if overlap(each, image.height, image.width)]
    if mixed:
        warn(f"{len(mixed)} images where classes overlap, of which the smaller object is on top: {folder / mixed[0]}")
