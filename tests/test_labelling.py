"""The files of labelling tools, read back by plain code: masks to the pixel, and what a person sorts by."""

import json
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.labelling import coco, label_studio
from stages.labelling.formats import FORMATS
from stages.labelling.items import Export, Item, Region, labels_of, regions, runs
from stages.pairs.layout import IGNORED, PixelClass
from tests.labelled import (
    BACKGROUND,
    BINARY,
    CLASSES,
    Masks,
    drawn,
    items_of,
    read_coco,
    read_cvat,
    read_fiftyone,
    read_json,
    read_label_studio,
    tags_of,
    unpacked,
)

READERS: dict[str, Callable[[Path, Mapping[int, PixelClass]], Masks]] = {
    "coco": lambda folder, _: read_coco(folder),
    "cvat": read_cvat,
    "label_studio": read_label_studio,
    "fiftyone": lambda folder, _: read_fiftyone(folder),
}
MASKS = {"b/one.png": drawn(17, 23), "a two.jpg": drawn(9, 30, 1), "c&<.png": np.zeros((5, 4), np.uint8)}

small = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 2, IGNORED]))
bits = arrays(np.bool_, st.integers(1, 40))


def write(folder: Path, name: str, masks: Masks = MASKS, predicted: bool = False) -> Path:
    """The files of a tool for some masks."""
    FORMATS[name](folder, items_of(masks), Export(CLASSES, "images", predicted))
    return folder


@pytest.mark.parametrize("name", FORMATS)
@given(masks=st.lists(small, min_size=1, max_size=3))
def test_masks_of_classes_come_back_to_the_pixel(name: str, masks: list[np.ndarray]) -> None:
    given = {f"{number}.png": mask for number, mask in enumerate(masks)}
    with TemporaryDirectory() as folder:
        found = READERS[name](write(Path(folder), name, given), CLASSES)
    assert list(found) == list(given)
    for path, mask in given.items():
        assert np.array_equal(found[path], mask) or (name == "label_studio" and not mask.any() and not found[path].size)


@pytest.mark.parametrize("name", FORMATS)
def test_files_are_the_same_each_time(name: str, tmp_path: Path) -> None:
    contents = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        write(folder, name)
        contents.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", FORMATS)
def test_masks_are_let_go_once_they_are_written(name: str, tmp_path: Path) -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    def items() -> Iterator[Item]:
        for number in range(8):
            assert sum(mask() is not None for mask in alive) <= 3  # the first and the last one may be in use
            mask = drawn(20, 20, number)
            alive.append(weakref.ref(mask))
            yield Item(f"{number}.png", mask, 0.5, {})

    FORMATS[name](tmp_path, items(), Export(CLASSES, "images", predicted=True))
    assert len(alive) == 8


@given(bits)
def test_runs_begin_with_0_and_make_the_bits(given: np.ndarray) -> None:
    lengths = runs(given)
    assert np.array_equal(np.repeat(np.arange(len(lengths)) % 2, lengths), given)
    assert all(lengths[1:])


@given(small)
def test_regions_are_connected_and_make_the_mask(mask: np.ndarray) -> None:
    found = np.zeros(mask.shape, int)
    for region in regions(mask, 1):
        rows, columns = region.bits.shape
        for edge in (region.bits[0], region.bits[-1], region.bits[:, 0], region.bits[:, -1]):
            assert edge.any()
        found[region.top : region.top + rows, region.left : region.left + columns] += region.bits
        assert len(list(regions(region.bits.astype(np.uint8), 1))) == 1
    assert np.array_equal(found, mask == 1)


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        (Region(0, 0, np.array([[True]])), [0, 1, 5]),
        (Region(0, 1, np.array([[True, True], [True, False]])), [2, 3, 1]),
        (Region(1, 2, np.array([[True]])), [5, 1]),
        (Region(1, 1, np.array([[True]])), [3, 1, 2]),
        (Region(0, 0, np.ones((2, 3), bool)), [0, 6]),
    ],
)
def test_the_runs_of_coco_by_hand(region: Region, expected: list[int]) -> None:
    assert coco.counts(region, 2, 3) == expected


def test_coco_has_an_annotation_for_each_region_and_a_crowd_of_each_class_for_what_is_ignored(tmp_path: Path) -> None:
    mask = np.array([[1, 0, 0, 2, 2], [0, 1, 0, 0, 0], [0, 0, 0, 1, IGNORED], [2, 0, 0, 0, IGNORED]], np.uint8)
    FORMATS["coco"](tmp_path, [Item("a.png", mask, 0.25, {"row": 7})], Export(CLASSES, "images", predicted=False))
    content = read_json(tmp_path / "annotations/instances_default.json")
    assert content["images"] == [{"id": 1, "file_name": "a.png", "width": 5, "height": 4, "score": 0.25, "row": 7}]
    assert [(each["id"], each["name"]) for each in content["categories"]] == [(1, "road"), (2, "Auto & Co. <ü>")]
    found = content["annotations"]
    assert [(each["id"], each["category_id"], each["bbox"], each["area"], each["iscrowd"]) for each in found] == [
        (1, 1, [0, 0, 2, 2], 2, 0),
        (2, 1, [3, 2, 1, 1], 1, 0),
        (3, 2, [3, 0, 2, 1], 2, 0),
        (4, 2, [0, 3, 1, 1], 1, 0),
        (5, 1, [4, 2, 1, 2], 2, 1),
        (6, 2, [4, 2, 1, 2], 2, 1),
    ]


@pytest.mark.parametrize("labels", [BINARY, CLASSES], ids=["object", "classes"])
def test_images_are_in_the_order_given_with_what_to_sort_by(labels: dict[int, PixelClass], tmp_path: Path) -> None:
    masks = {name: mask * np.uint8(labels is CLASSES) for name, mask in MASKS.items()}
    expected: list[dict[str, Any]] = [
        {"score": 0.125, "rank": 1, "judged_by": "fold", "mean": 0.25},
        {"score": 0.25, "rank": 2, "judged_by": "fold", "mean": 0.5},
        {"score": None, "rank": 3, "judged_by": "fold", "mean": 0.75},
    ]
    for name in FORMATS:
        FORMATS[name](tmp_path, items_of(masks), Export(labels, "images", predicted=True))
    images = read_json(tmp_path / "annotations/instances_default.json")["images"]
    tasks = [task["data"] for task in read_json(tmp_path / "tasks.json")]
    samples = read_json(tmp_path / "samples.json")["samples"]
    for found, key in ((images, "file_name"), (tasks, "file"), (samples, "filepath")):
        assert [each[key].removeprefix("images/") for each in found] == list(MASKS)
        assert [{name: each[name] for name in expected[0]} for each in found] == expected
    texts = [{name: str(value) for name, value in each.items() if value is not None} for each in expected]
    assert tags_of(tmp_path) == dict(zip(MASKS, texts, strict=True))
    lines = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[:2] == [{"version": "1.1"}, {"type": "images"}]
    assert [f"{line['name']}{line['extension']}" for line in lines[2:]] == list(MASKS)
    assert [(line["height"], line["width"]) for line in lines[2:]] == [mask.shape for mask in MASKS.values()]


def test_cvat_has_labels_for_the_classes_and_a_tag_with_its_attributes(tmp_path: Path) -> None:
    labels = read_json(write(tmp_path, "cvat") / "labels.json")
    assert [(label["name"], label["color"], label["type"]) for label in labels] == [
        ("road", "#804080", "any"),
        ("Auto & Co. <ü>", "#00008e", "any"),
        ("ignored", "#808080", "any"),
        ("traincore", "#0080ff", "tag"),
    ]
    assert [(each["name"], each["input_type"]) for each in labels[-1]["attributes"]] == [
        ("score", "text"),
        ("rank", "number"),
        ("judged_by", "text"),
        ("mean", "text"),
    ]
    root = ElementTree.parse(tmp_path / "annotations.xml").getroot()
    assert (root.tag, root.findtext("version")) == ("annotations", "1.1")
    assert [label.findtext("name") for label in root.iterfind("meta/task/labels/label")] == [
        label["name"] for label in labels
    ]
    assert [image.attrib["id"] for image in root.iter("image")] == ["0", "1", "2"]


@pytest.mark.parametrize("name", FORMATS)
def test_classes_may_have_the_names_that_the_files_add(name: str, tmp_path: Path) -> None:
    labels = labels_of([BACKGROUND, PixelClass("ignored", 1, "#804080"), PixelClass("traincore", 2, "#00008e")])
    FORMATS[name](tmp_path, items_of(MASKS), Export(labels, "images", predicted=False))
    found = READERS[name](tmp_path, labels)
    assert all(np.array_equal(found[path], mask) for path, mask in MASKS.items() if mask.any())
    if name == "cvat":
        named = [label["name"] for label in read_json(tmp_path / "labels.json")]
        assert named == ["ignored", "traincore", "ignored_", "traincore_"]


@pytest.mark.parametrize("predicted", [False, True])
def test_label_studio_gets_predictions_with_a_score_or_annotations(predicted: bool, tmp_path: Path) -> None:
    tasks = read_json(write(tmp_path, "label_studio", predicted=predicted) / "tasks.json")
    assert [task["data"]["image"] for task in tasks] == [
        "/data/local-files/?d=images/b/one.png",
        "/data/local-files/?d=images/a%20two.jpg",
        "/data/local-files/?d=images/c%26%3C.png",
    ]
    for task, score in zip(tasks, (0.125, 0.25, None), strict=True):
        assert ("annotations" in task, "predictions" in task) == (not predicted, predicted)
        if predicted:
            assert task["predictions"][0]["score"] == score
    root = ElementTree.parse(tmp_path / "labelling_config.xml").getroot()
    assert [(label.attrib["value"], label.attrib["background"]) for label in root.iter("Label")] == [
        (label.name, label.color) for label in CLASSES.values()
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 63, 64, 65, 16383, 16384, 16385, 40000])
def test_runs_of_any_length_are_written_as_label_studio_reads_them(size: int) -> None:
    for mask in (np.ones((1, size), bool), np.zeros((1, size), bool), np.arange(size)[None] < size // 2):
        assert np.array_equal(unpacked(label_studio.encode(mask)), np.repeat(mask * np.uint8(255), 4))


@pytest.mark.parametrize(("predicted", "field"), [(False, "ground_truth"), (True, "prediction")])
def test_fiftyone_names_the_values_of_masks(predicted: bool, field: str, tmp_path: Path) -> None:
    write(tmp_path, "fiftyone", predicted=predicted)
    targets = read_json(tmp_path / "metadata.json")["info"]["default_mask_targets"]
    assert targets == {str(value): label.name for value, label in CLASSES.items()}
    assert all(field in sample for sample in read_json(tmp_path / "samples.json")["samples"])
