"""Command `triage`: the IoU by which it ranks, the ranking and the picture."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from stages import triage
from stages.drawing import pictures
from stages.labelling.formats import FORMATS
from stages.learning import new_images
from stages.learning.measures import expected_ious
from stages.learning.scores import tier
from stages.pipeline.errors import UserError
from tests import pixelwise
from tests.cores import BRIGHT, files_below, read_image, save_image, spotted, teach
from tests.labelled import (
    BINARY,
    FILES_OF,
    read_coco,
    read_cvat,
    read_fiftyone,
    read_json,
    read_label_studio,
    tags_of,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(new_images, "set_up_tensorflow", lambda: 1)
    return tmp_path


GAIN = 8.0
VALUES = {
    "sure.png": 255,
    "c/unsure.png": 140,
    "between.png": 170,
    "empty.png": 20,
    "b/unsure.png": 140,
    "vague.png": 120,
}


def ranking(path: Path) -> list[dict[str, str]]:
    with (path / "ranking.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def unsure(folder: Path) -> Path:
    """A core whose network is the surer the brighter an image is, and images of a brightness each."""
    teach(gain=GAIN)
    for name, value in VALUES.items():
        save_image(folder / "new" / name, np.full((20, 24, 3), value, np.uint8))
    return folder


def test_the_images_that_are_expected_to_be_worst_come_first(unsure: Path) -> None:
    triage.main(["new", "ranking"])
    lines = ranking(unsure / "ranking")
    assert list(lines[0]) == ["file", "expected_tiered_iou", "expected_iou", "mean_probability"]
    assert [line["file"] for line in lines] == [
        "vague.png",  # an empty mask, by little
        "b/unsure.png",
        "c/unsure.png",
        "between.png",
        "empty.png",  # another, by much
        "sure.png",
    ]
    for line in lines:
        image = np.full((1, 20, 24), VALUES[line["file"]] / 255)
        probability = pixelwise.probabilities(image[0, :, :, None], GAIN)
        (expected,) = expected_ious(tf.constant(probability[None, :, :, None], tf.float32)).numpy()[0]
        assert float(line["expected_iou"]) == pytest.approx(expected, rel=1e-3)
        assert float(line["expected_tiered_iou"]) == pytest.approx(tier(np.array(expected)).item())
        assert float(line["mean_probability"]) == pytest.approx(probability.mean(), rel=1e-4)
    assert float(lines[-1]["expected_iou"]) == pytest.approx(1 / (1 + np.exp(-GAIN / 2)), rel=1e-4)


def test_the_picture_of_the_worst_is_a_png(unsure: Path) -> None:
    triage.main(["new", "ranking"])
    assert files_below(unsure / "ranking") == ["ranking.csv", "worst.png"]
    with Image.open(unsure / "ranking/worst.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 100
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10


def test_the_first_twenty_are_drawn_in_their_order(unsure: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(triage.SHOWN):
        save_image(unsure / f"new/{number:02d}.png", np.full((8, 8, 3), 130 + number, np.uint8))
    drawn: list[tuple[Any, Any]] = []
    monkeypatch.setattr(pictures, "draw_masks", lambda _path, images, titles, _: drawn.append((images, titles)))
    triage.main(["new", "ranking"])
    ((images, titles),) = drawn
    lines = ranking(unsure / "ranking")
    assert len(lines) == len(VALUES) + triage.SHOWN
    assert len(images) == len(titles) == triage.SHOWN
    assert titles == [f"{line['file']}: {float(line['expected_iou']):.2f}" for line in lines[: triage.SHOWN]]
    assert [image.shape for image, _ in images] == [
        (20, 24, 3) if line["file"] in VALUES else (8, 8, 3) for line in lines[: triage.SHOWN]
    ]
    for (image, probability), line in zip(images, lines, strict=False):
        assert probability.shape == (*image.shape[:2], 1)
        assert probability.mean() == pytest.approx(float(line["mean_probability"]), rel=1e-5)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_of_any_kind_are_drawn(folder: Path, channels: int, dtype: str) -> None:
    image = spotted(12, 20, channels)
    image = image if dtype == "uint8" else (image / 255).astype(np.float32)
    pictures.draw_masks(folder / "a.png", [(image, np.full((12, 20, 1), 0.3))] * 5, ["a" * 99, "b", "c", "$", "_"])
    assert read_image(folder / "a.png").size > 0


def test_triage_says_which_image_to_label_first(unsure: Path, capsys: pytest.CaptureFixture[str]) -> None:
    triage.main(["new", "ranking"])
    assert capsys.readouterr().out == "triage: 6 images in ranking/ranking.csv, the first to label is vague.png\n"


@pytest.mark.parametrize("name", FORMATS)
def test_a_tool_gets_its_files_beside_the_same_ranking(unsure: Path, name: str) -> None:
    triage.main(["new", "plain"])
    triage.main(["new", "ranking", "--format", name])
    assert files_below(unsure / "ranking") == sorted([*files_below(unsure / "plain"), *FILES_OF[name]])
    for file in files_below(unsure / "plain"):
        assert (unsure / "ranking" / file).read_bytes() == (unsure / "plain" / file).read_bytes()


def test_tools_get_the_predicted_masks_first_those_that_are_expected_to_be_worst(unsure: Path) -> None:
    save_image(unsure / "new/b/spots.png", spotted(18, 30))
    for name in FORMATS:
        triage.main(["new", name, "--format", name])
    files = [line["file"] for line in ranking(unsure / "coco")]
    for masks in (
        read_coco(unsure / "coco"),
        read_cvat(unsure / "cvat", BINARY),
        read_label_studio(unsure / "label_studio", BINARY),
        read_fiftyone(unsure / "fiftyone"),
    ):
        assert list(masks) == files
        assert np.array_equal(masks["b/spots.png"], spotted(18, 30)[:, :, 0] == BRIGHT)
        assert masks["sure.png"].all()
        assert not masks["empty.png"].any()


def test_tools_get_the_expected_iou_for_a_score_and_the_other_columns_of_the_ranking(unsure: Path) -> None:
    for name in FORMATS:
        triage.main(["new", name, "--format", name])
    expected = [
        (rank, *(float(line[key]) for key in ("expected_iou", "expected_tiered_iou", "mean_probability")))
        for rank, line in enumerate(ranking(unsure / "coco"), 1)
    ]
    images = read_json(unsure / "coco/annotations/instances_default.json")["images"]
    tasks = read_json(unsure / "label_studio/tasks.json")
    samples = read_json(unsure / "fiftyone/samples.json")["samples"]
    tags = [{key: float(value) for key, value in tag.items()} for tag in tags_of(unsure / "cvat").values()]
    for found in (images, [task["data"] for task in tasks], samples, tags):
        keys = ("rank", "score", "expected_tiered_iou", "mean_probability")
        assert [tuple(each[key] for key in keys) for each in found] == expected
    assert [task["predictions"][0]["score"] for task in tasks] == sorted(score for _, score, *_ in expected)
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=new/vague.png"
    assert samples[0]["filepath"] == "new/vague.png"


def test_a_ranking_over_what_is_there_already_is_refused(unsure: Path) -> None:
    (unsure / "ranking").mkdir()
    with pytest.raises(UserError, match=r"^ranking: is there already; name a folder that is to be made$"):
        triage.main(["new", "ranking"])
