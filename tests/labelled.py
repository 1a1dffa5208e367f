"""Images and masks of classes, and the files of labelling tools read back by plain code."""

import base64
import io
import json
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from stages.labelling.items import OBJECT, Item, labels_of
from stages.pairs.layout import IGNORED, PixelClass

BACKGROUND = PixelClass("background", 0, "#000000")
CLASSES = labels_of([BACKGROUND, PixelClass("road", 7, "#804080"), PixelClass("Auto & Co. <ü>", 26, "#00008e")])
BINARY = {1: OBJECT}
FILES_OF = {
    "coco": ["annotations/instances_default.json"],
    "cvat": ["annotations.xml", "labels.json", "manifest.jsonl"],
    "label_studio": ["labelling_config.xml", "tasks.json"],
    "fiftyone": ["metadata.json", "samples.json"],
}
Masks = dict[str, np.ndarray]


def items_of(masks: Mapping[str, np.ndarray]) -> Iterator[Item]:
    """Items with a score each, none for the last, and fields."""
    for rank, (name, mask) in enumerate(masks.items(), 1):
        score = None if rank == len(masks) > 1 else rank / 8
        yield Item(name, mask, score, {"rank": rank, "judged_by": "fold", "mean": rank / 4})


def drawn(height: int, width: int, seed: int = 0, values: tuple[int, ...] = (0, 1, 2, IGNORED)) -> np.ndarray:
    """A mask of rectangles of some values, one over the other; uint8, (height, width)."""
    random = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for value in random.permutation(values * 3):
        top, left = random.integers(height), random.integers(width)
        mask[top : top + random.integers(1, height), left : left + random.integers(1, width)] = value
    return mask


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def filled(lengths: list[int]) -> np.ndarray:
    """The values that runs of 0 and 1 in turn make."""
    return np.repeat(np.arange(len(lengths)) % 2, lengths).astype(bool)


def read_coco(folder: Path) -> Masks:
    """Masks by the names of their images; where a crowd is, the pixel is ignored."""
    content = read_json(folder / "annotations/instances_default.json")
    shapes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    masks = {image: np.zeros(shape, np.uint8) for image, shape in shapes.items()}
    for annotation in content["annotations"]:
        assert annotation["segmentation"]["size"] == [*shapes[annotation["image_id"]]]
        bits = filled(annotation["segmentation"]["counts"]).reshape(shapes[annotation["image_id"]][::-1]).T
        rows, columns = np.nonzero(bits)
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert (annotation["bbox"], annotation["area"]) == (box, bits.sum())
        masks[annotation["image_id"]][bits] = IGNORED if annotation["iscrowd"] else annotation["category_id"]
    return {image["file_name"]: masks[image["id"]] for image in content["images"]}


def read_cvat(folder: Path, labels: Mapping[int, PixelClass]) -> Masks:
    values = {label.name: value for value, label in labels.items()}
    masks = {}
    for image in ElementTree.parse(folder / "annotations.xml").getroot().iter("image"):
        mask = masks[image.attrib["name"]] = np.zeros(
            (int(image.attrib["height"]), int(image.attrib["width"])), np.uint8
        )
        for shape in image.iter("mask"):
            left, top, width, height = (int(shape.attrib[key]) for key in ("left", "top", "width", "height"))
            bits = filled([int(length) for length in shape.attrib["rle"].split(",")]).reshape(height, width)
            mask[top : top + height, left : left + width][bits] = values[shape.attrib["label"]]
    return masks


def read_label_studio(folder: Path, labels: Mapping[int, PixelClass]) -> Masks:
    """Masks by the names of their images; of images with none of the classes an empty array."""
    values = {label.name: value for value, label in labels.items()}
    masks: Masks = {}
    for task in read_json(folder / "tasks.json"):
        ((made,),) = (task[key] for key in ("annotations", "predictions") if key in task)
        mask = np.zeros((0, 0), np.uint8)
        for region in made["result"]:
            shape = region["original_height"], region["original_width"]
            mask = mask if mask.size else np.zeros(shape, np.uint8)
            pixels = unpacked(region["value"]["rle"]).reshape(*shape, 4)
            assert (pixels == pixels[:, :, :1]).all()
            mask[pixels[:, :, 3] == 255] = values[region["value"]["brushlabels"][0]]
        masks[task["data"]["file"]] = mask
    return masks


def unpacked(packed: list[int]) -> np.ndarray:
    """The values that Label Studio's RLE stands for, as its own JavaScript reads it."""
    digits = "".join(f"{byte:08b}" for byte in packed)
    place = 0

    def take(bits: int) -> int:
        nonlocal place
        place += bits
        return int(digits[place - bits : place], 2)

    count, bits_of_value = take(32), take(5) + 1
    bits_of_length = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        same = take(1)
        length = take(bits_of_length[take(2)]) + 1
        values += [take(bits_of_value)] * length if same else [take(bits_of_value) for _ in range(length)]
    return np.array(values, np.uint8)


def read_fiftyone(folder: Path) -> Masks:
    masks = {}
    for sample in read_json(folder / "samples.json")["samples"]:
        ((_, label),) = ((key, sample[key]) for key in ("ground_truth", "prediction") if key in sample)
        packed = base64.b64decode(label["mask"]["$binary"]["base64"])
        masks[sample["filepath"].partition("/")[2]] = np.load(io.BytesIO(zlib.decompress(packed)), allow_pickle=False)
    return masks


def tags_of(folder: Path) -> dict[str, dict[str, str]]:
    """The attributes of the tag of each image, in CVAT's file."""
    tags: dict[str, dict[str, str]] = defaultdict(dict)
    for image in ElementTree.parse(folder / "annotations.xml").getroot().iter("image"):
        (tag,) = image.iter("tag")
        assert tag.attrib["label"] == "traincore"
        for attribute in tag:
            tags[image.attrib["name"]][attribute.attrib["name"]] = attribute.text or ""
    return dict(tags)
