"""COCO's instances: ``annotations/instances_default.json``, where CVAT, FiftyOne and datumaro look for it.

COCO has no class for pixels that do not count. What is near it is a crowd: detections that lie in one are not counted
as false. That holds for each class by itself, so ignored pixels become a crowd of every class; where such an image is
read as a mask, crowds are to be read as ignored.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stages.labelling.items import Export, Item, Region, regions, runs, write_list
from stages.pairs.layout import IGNORED

FILE = Path("annotations/instances_default.json")


def write(folder: Path, items: Iterable[Item], export: Export) -> None:
    """Write the file of some items; each connected region of a class is an annotation."""
    classes = {value: label for value, label in export.labels.items() if value != IGNORED}
    categories = [{"id": value, "name": label.name, "supercategory": ""} for value, label in classes.items()]
    images: list[dict[str, Any]] = []  # filled while the annotations are written, and small
    (folder / FILE).parent.mkdir()
    with (folder / FILE).open("w", encoding="utf-8") as file:
        file.write(f'{{"info": {{"description": "Traincore"}}, "categories": {json.dumps(categories)}, "annotations": ')
        write_list(file, _annotations(items, list(classes), images))
        file.write(', "images": ')
        write_list(file, images)
        file.write("}\n")


def _annotations(items: Iterable[Item], classes: list[int], images: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    count = 0
    for number, item in enumerate(items, 1):
        height, width = item.mask.shape
        images.append({"id": number, "file_name": item.name, "width": width, "height": height, **item.values})
        for value, crowd, region in _found(item.mask, classes):
            count += 1
            yield {
                "id": count,
                "image_id": number,
                "category_id": value,
                "segmentation": {"size": [height, width], "counts": counts(region, height, width)},
                "area": int(region.bits.sum()),
                "bbox": [region.left, region.top, region.bits.shape[1], region.bits.shape[0]],
                "iscrowd": crowd,
            }


def _found(mask: np.ndarray, classes: list[int]) -> Iterator[tuple[int, int, Region]]:
    """The regions of each class, and what is ignored as a crowd of each: class, 0 or 1, region."""
    for value in classes:
        yield from ((value, 0, region) for region in regions(mask, value))
    ignored = mask == IGNORED
    if ignored.any():
        rows, columns = (np.flatnonzero(ignored.any(axis=axis)) for axis in (1, 0))
        inside = ignored[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        yield from ((value, 1, Region(int(rows[0]), int(columns[0]), inside)) for value in classes)


def counts(region: Region, height: int, width: int) -> list[int]:
    """The runs of a region in its image of that size, down one column after the other, as COCO's plain RLE.

    Only the region's own columns are looked at: images may be large and have many small regions.
    """
    rows, columns = region.bits.shape
    strip = np.zeros((height, columns), bool)
    strip[region.top : region.top + rows] = region.bits
    lengths = runs(strip.T.ravel())
    lengths[0] += region.left * height
    behind = (width - region.left - columns) * height
    if len(lengths) % 2:  # ends in a run of 0
        lengths[-1] += behind
    elif behind:
        lengths.append(behind)
    return lengths
