"""Pictures: the colours of pixels, what is drawn of which pair, and that every kind of set can be drawn."""

import base64
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.drawing import colors, pictures
from stages.pairs.layout import IGNORED, Block, PixelClass

MASK = np.zeros((8, 8, 1), np.uint8)
MASK[2:6, 2:6] = 1
TITLE = pictures.TEXT + 2 * pictures.GAP  # its height


def block(count: int, size: int = 8, channels: int = 3, dtype: str = "uint8", labels: bool = False) -> Block:
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, channels)).astype(np.uint8)
    targets = (
        np.arange(count)[:, None] % 10
        if labels
        else np.stack([np.kron(MASK, np.ones((size // 8,) * 2 + (1,)))] * count)
    )
    return Block(images if dtype == "uint8" else (images / 255).astype(np.float32), targets.astype(np.uint8))


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def colours_of(pixels: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in pixels.reshape(-1, 3).tolist()}


def test_each_kind_of_pixel_has_its_colour() -> None:
    mask = np.array([[1, 1], [0, 0]], np.uint8)[:, :, None]
    predicted = np.array([[0.9, 0.1], [0.9, 0.5]])[:, :, None]
    hit, missed, false, right = colors.comparison_as_rgb(mask, predicted).reshape(-1, 3).tolist()
    assert {
        "rightly in the mask": tuple(hit),
        "missed": tuple(missed),
        "wrongly in the mask": tuple(false),
        "rightly outside": tuple(right),
    } == colors.KINDS


def test_the_colours_differ_in_brightness_too() -> None:
    """By relative luminance (WCAG 2), so that they can be told apart in grey."""

    def luminance(colour: tuple[int, ...]) -> float:
        parts = [part / 255 for part in colour]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    ordered = sorted(map(luminance, colors.KINDS.values()))
    assert all((high + 0.05) / (low + 0.05) > 1.4 for low, high in itertools.pairwise(ordered))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_of_any_kind_become_rgb(channels: int, dtype: str) -> None:
    image, same = block(1, channels=channels, dtype=dtype).images[0], block(1, channels=channels).images[0]
    found = colors.as_rgb(image)
    assert (found.shape, found.dtype) == ((8, 8, 3), np.dtype("uint8"))
    assert np.array_equal(found, same[:, :, [0, 0, 0] if channels == 1 else [0, 1, 2]])


def test_an_outline_is_the_edge_of_the_mask_and_nothing_else() -> None:
    image = block(1).images[0]
    edge = np.zeros((8, 8), bool)
    edge[1:7, 1:7] = True
    edge[3:5, 3:5] = False  # and the outer corners are not next to a pixel of the mask
    edge[[1, 1, 6, 6], [1, 6, 1, 6]] = False
    found = colors.outlined(image, MASK)
    assert (found[edge] == colors.OUTLINE).all()
    assert np.array_equal(found[~edge], image[~edge])


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("count", [1, 3, 20])
def test_pairs_are_drawn_with_all_of_their_masks(tmp_path: Path, count: int, labels: bool) -> None:
    pictures.draw_pairs(tmp_path / "a.png", block(count, labels=labels), [f"row {number}" for number in range(count)])
    drawn = read(tmp_path / "a.png")
    given = block(count, labels=labels)
    for number, image in enumerate(given.images):
        top, left = number // 10 * (len(drawn) // -(-count // 10)), number % 10 * (drawn.shape[1] // min(10, count))
        found = drawn[top + TITLE :, left:][: pictures.PANEL : 16, : pictures.PANEL : 16]
        assert np.array_equal(found, image)
    masks = drawn[TITLE + pictures.PANEL + pictures.GAP :][: pictures.PANEL : 16, : pictures.PANEL : 16]
    assert labels or np.array_equal(masks, np.repeat(MASK * 255, 3, axis=2))


@pytest.mark.parametrize("count", [1, 3])
def test_predictions_are_drawn_with_the_four_kinds_and_what_they_mean(tmp_path: Path, count: int) -> None:
    given = block(count)
    moved = np.roll(given.targets, 2, axis=1).astype(np.float32)
    pictures.draw_predictions(tmp_path / "a.png", given, moved, ["$a$_{b", *["row"] * (count - 1)])
    assert set(colors.KINDS.values()) <= colours_of(read(tmp_path / "a.png"))
    pictures.draw_predictions(tmp_path / "b.png", given, given.targets.astype(np.float32), ["row"] * count)
    right = read(tmp_path / "b.png")[: -3 * pictures.TEXT]  # without the legend
    assert colors.KINDS["missed"] not in colours_of(right)
    assert colors.KINDS["wrongly in the mask"] not in colours_of(right)


def test_predicted_classes_are_drawn(tmp_path: Path) -> None:
    pictures.draw_predictions(tmp_path / "a.png", block(3, labels=True), np.eye(10)[[0, 2, 1]], ["a", "b", "c"])
    assert read(tmp_path / "a.png").size


@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 200), (300, 40), (900, 700)])
def test_images_of_any_size_are_drawn_beside_what_is_said_of_them(tmp_path: Path, height: int, width: int) -> None:
    image, other = np.full((height, width, 3), 90, np.uint8), np.zeros((20, 24, 1), np.float32)
    said = np.full((height, width, 1), 0.2)
    pictures.draw_masks(tmp_path / "a.png", [(image, said), (other, np.ones((20, 24, 1)))], ["a" * 99, "Ü"])
    assert {(90, 90, 90), (51, 51, 51)} <= colours_of(read(tmp_path / "a.png"))


def test_a_montage_holds_every_image_in_its_place(tmp_path: Path) -> None:
    given = block(5)
    pictures.draw_montage(tmp_path / "a.png", [given], (len(given.images), *given.images.shape[1:3]))
    drawn = read(tmp_path / "a.png")
    assert drawn.shape == (2 * 9, 3 * 9, 3)
    for number, (image, mask) in enumerate(zip(given.images, given.targets, strict=True)):
        top, left = number // 3 * 9, number % 3 * 9
        assert np.array_equal(drawn[top : top + 8, left : left + 8], colors.outlined(image, mask))


def test_a_montage_of_many_large_images_stays_a_picture_that_can_be_looked_at(tmp_path: Path) -> None:
    pictures.draw_montage(tmp_path / "a.png", [block(100, size=128, labels=True)] * 3, (300, 128, 128))
    height, width, _ = read(tmp_path / "a.png").shape
    assert 0.9 * pictures.WIDEST < width <= 1.02 * pictures.WIDEST
    assert height <= 1.1 * width


def test_a_thumbnail_is_small_and_of_the_same_proportions() -> None:
    url = pictures.thumbnail(np.zeros((50, 200, 3), np.uint8), 64)
    kind, content = url.split(",")
    assert kind == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        assert picture.size == (64, 16)


CLASSES = [PixelClass("background", 0, "#000000"), PixelClass("road", 1, "#804080"), PixelClass("car", 2, "#00008e")]
ROAD, CAR = (0x80, 0x40, 0x80), (0, 0, 0x8E)


def test_a_mask_of_classes_has_their_colours() -> None:
    mask = np.array([[0, 1], [2, IGNORED]], np.uint8)
    drawn = colors.mask_as_rgb(mask[:, :, None], CLASSES).reshape(-1, 3).tolist()
    assert [tuple(pixel) for pixel in drawn] == [(0, 0, 0), ROAD, CAR, colors.KINDS_OF_CLASSES["ignored"]]


def test_each_kind_of_pixel_of_a_mask_of_classes_has_its_colour() -> None:
    mask = np.array([1, 0, 1, 1, 0, IGNORED])[None, :, None]
    predicted = np.array([1, 2, 0, 2, 0, 1])[None, :, None]
    drawn = colors.comparison_as_rgb(mask, predicted, CLASSES)[0].tolist()
    assert dict(zip(colors.KINDS_OF_CLASSES, map(tuple, drawn), strict=True)) == colors.KINDS_OF_CLASSES


def test_pictures_of_classes_show_masks_and_predictions_in_their_colours_and_explain_them(tmp_path: Path) -> None:
    masks = np.zeros((2, 16, 16, 1), np.uint8)
    masks[:, 2:9, 2:9], masks[:, 10:14, 10:14] = 1, 2
    given = Block(np.full((2, 16, 16, 3), 90, np.uint8), masks)
    said = np.where(masks == 1, 1, 0).astype(np.uint8)  # the cars are missed
    pictures.draw_pairs(tmp_path / "a.png", given, ["a", "b"], CLASSES)
    assert {ROAD, CAR} <= colours_of(read(tmp_path / "a.png"))
    pictures.draw_predictions(tmp_path / "b.png", given, said, ["a", "b"], CLASSES)
    drawn = read(tmp_path / "b.png")
    part = drawn[TITLE : TITLE + pictures.PANEL]
    found = part[:, 2 * (pictures.PANEL + pictures.GAP) :][:, : pictures.PANEL]
    kinds = part[:, 3 * (pictures.PANEL + pictures.GAP) :][:, : pictures.PANEL]
    assert ROAD in colours_of(found)
    assert CAR not in colours_of(found)
    assert colors.KINDS_OF_CLASSES["missed"] in colours_of(kinds)
    assert CAR in colours_of(drawn[-3 * pictures.TEXT :])  # the legend
    pictures.draw_masks(tmp_path / "c.png", [(given.images[0], said[0])], ["a"], CLASSES)
    assert ROAD in colours_of(read(tmp_path / "c.png"))
