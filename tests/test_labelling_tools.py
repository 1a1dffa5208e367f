"""The files of labelling tools, read by the tools' own packages; what is not installed is skipped, with a line.

None of them is a requirement: `pip install pycocotools datumaro label-studio-sdk cvat-sdk fiftyone`, into an
environment of their own where they ask for other versions than the project does.
"""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from stages.labelling.formats import FORMATS
from stages.labelling.items import Export
from stages.pairs.layout import IGNORED
from tests.labelled import CLASSES, drawn, items_of, read_json

MASKS = {"b/one.png": drawn(37, 53), "a two.png": drawn(20, 64, 1), "none.png": np.zeros((15, 14), np.uint8)}


def package(module: str, name: str) -> Any:
    """A package that only these tests need."""
    return pytest.importorskip(module, reason=f"{name} is not installed; it would read this file itself")


def written(folder: Path, name: str, predicted: bool = True) -> Path:
    """A folder with images, and the files of a tool for their masks."""
    for image, mask in MASKS.items():
        (folder / "images" / image).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(folder / "images" / image)
    FORMATS[name](folder, items_of(MASKS), Export(CLASSES, "images", predicted))
    return folder


def test_pycocotools_reads_the_masks_areas_and_boxes(tmp_path: Path) -> None:
    coco, masks = package("pycocotools.coco", "pycocotools"), package("pycocotools.mask", "pycocotools")
    read = coco.COCO(str(written(tmp_path, "coco") / "annotations/instances_default.json"))
    for number, image in read.imgs.items():
        found = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in read.imgToAnns[number]:
            bits = read.annToMask(annotation).astype(bool)
            rle = read.annToRLE(annotation)
            assert (masks.area(rle), masks.toBbox(rle).tolist()) == (annotation["area"], annotation["bbox"])
            found[bits] = IGNORED if annotation["iscrowd"] else annotation["category_id"]
        assert np.array_equal(found, MASKS[image["file_name"]])


@pytest.mark.parametrize("crowds", [True, False])
def test_pycocotools_counts_what_is_found_where_pixels_are_ignored_unless_there_are_crowds(
    tmp_path: Path, crowds: bool
) -> None:
    coco, evaluation = package("pycocotools.coco", "pycocotools"), package("pycocotools.cocoeval", "pycocotools")
    truth = coco.COCO(str(written(tmp_path, "coco") / "annotations/instances_default.json"))
    annotations = truth.dataset["annotations"]
    assert any(annotation["iscrowd"] for annotation in annotations)
    scores = {0: 0.8, 1: 0.9}
    found = [{**each, "segmentation": truth.annToRLE(each), "score": scores[each["iscrowd"]]} for each in annotations]
    if not crowds:
        truth.dataset["annotations"] = [annotation for annotation in annotations if not annotation["iscrowd"]]
        truth.createIndex()
    judged = evaluation.COCOeval(truth, truth.loadRes([{**each, "iscrowd": 0} for each in found]), "segm")
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    assert (judged.stats[0] == pytest.approx(1.0)) == crowds


@pytest.mark.parametrize("name", ["coco", "cvat"])
def test_datumaro_reads_masks_and_what_to_sort_by(name: str, tmp_path: Path) -> None:
    datumaro = package("datumaro", "datumaro")
    read = datumaro.Dataset.import_from(str(written(tmp_path, name)), name)
    labels = [label.name for label in read.categories()[datumaro.AnnotationType.label]]
    values = {label.name: value for value, label in CLASSES.items()}
    items = {f"{item.id}.png": item for item in read}
    assert set(items) == set(MASKS)
    for path, item in items.items():
        found = np.zeros(MASKS[path].shape, np.uint8)
        for annotation in item.annotations:
            if annotation.type == datumaro.AnnotationType.mask:
                value = values[labels[annotation.label]]
                found[annotation.image.astype(bool)] = IGNORED if annotation.attributes.get("is_crowd") else value
        assert np.array_equal(found, MASKS[path])
    if name == "cvat":
        tags = [
            annotation.attributes
            for path in MASKS
            for annotation in items[path].annotations
            if annotation.type == datumaro.AnnotationType.label
        ]
        assert [(tag["rank"], tag.get("score")) for tag in tags] == [(1.0, "0.125"), (2.0, "0.25"), (3.0, None)]


@pytest.mark.parametrize("predicted", [False, True])
def test_label_studio_reads_masks_and_accepts_the_tasks_for_their_project(predicted: bool, tmp_path: Path) -> None:
    brush = package("label_studio_sdk.converter.brush", "label-studio-sdk")
    interface = package("label_studio_sdk.label_interface", "label-studio-sdk").LabelInterface
    written(tmp_path, "label_studio", predicted)
    project = interface((tmp_path / "labelling_config.xml").read_text(encoding="utf-8"))
    project.validate()
    values = {label.name: value for value, label in CLASSES.items()}
    for task in read_json(tmp_path / "tasks.json"):
        assert project.load_task(task["data"]).get_object("image").value == task["data"]["image"]
        (made,) = task["predictions" if predicted else "annotations"]
        assert project.validate_prediction(made, return_errors=True) == []
        expected = MASKS[task["data"]["file"]]
        found = np.zeros(expected.shape, np.uint8)
        for region in made["result"]:
            pixels = brush.decode_rle(region["value"]["rle"]).reshape(*expected.shape, 4)
            found[pixels[:, :, 3] > 0] = values[region["value"]["brushlabels"][0]]
        assert np.array_equal(found, expected)


def test_cvat_decodes_the_masks_and_takes_the_labels(tmp_path: Path) -> None:
    """The SDK reads no files, which the server does, by these lines; but it has the code and the types of both."""
    masks, models = package("cvat_sdk.masks", "cvat-sdk"), package("cvat_sdk.models", "cvat-sdk")
    values = {label.name: value for value, label in CLASSES.items()}
    for image in ElementTree.parse(written(tmp_path, "cvat") / "annotations.xml").getroot().iter("image"):
        found = np.zeros(MASKS[image.attrib["name"]].shape, np.uint8)
        for mask in image.iter("mask"):
            left, top, width, height = (int(mask.attrib[key]) for key in ("left", "top", "width", "height"))
            points = [*map(int, mask.attrib["rle"].split(",")), left, top, left + width - 1, top + height - 1]
            bits = masks.decode_mask(points, image_width=found.shape[1], image_height=found.shape[0])
            assert masks.encode_mask(bits) == points
            found[bits] = values[mask.attrib["label"]]
        assert np.array_equal(found, MASKS[image.attrib["name"]])
    labels = read_json(tmp_path / "labels.json")
    task = models.TaskWriteRequest(name="task", labels=labels)
    assert [(label.name, label.color) for label in task.labels] == [(label["name"], label["color"]) for label in labels]


@pytest.mark.parametrize("apart", [False, True])
def test_fiftyone_reads_masks_and_sorts_by_the_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    monkeypatch.setenv("FIFTYONE_DO_NOT_TRACK", "true")
    fiftyone = package("fiftyone", "fiftyone")
    folder = written(tmp_path / "written", "fiftyone")
    if apart:  # the images stand elsewhere
        (tmp_path / "elsewhere").mkdir()
        (folder / "images").rename(tmp_path / "elsewhere/images")
    try:
        read = fiftyone.Dataset.from_dir(
            str(folder),
            fiftyone.types.LegacyFiftyOneDataset,
            rel_dir=str(tmp_path / "elsewhere") if apart else None,
        )
    except fiftyone.core.config.FiftyOneConfigError as error:
        pytest.skip(f"fiftyone does not start: {error}")
    assert read.default_mask_targets == {value: label.name for value, label in CLASSES.items()}
    ordered = [sample for sample in read.sort_by("score") if sample["score"] is not None]
    assert [(sample["score"], sample["rank"]) for sample in ordered] == [(0.125, 1), (0.25, 2)]
    for sample, (name, mask) in zip(read, MASKS.items(), strict=True):
        assert sample.filepath == str(tmp_path / ("elsewhere" if apart else "written") / "images" / name)
        assert Path(sample.filepath).is_file()
        assert (sample["prediction"].mask.dtype, sample["judged_by"]) == (np.uint8, "fold")
        assert np.array_equal(sample["prediction"].mask, mask)
    read.delete()
