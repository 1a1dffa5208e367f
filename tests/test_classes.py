"""Masks of classes in files, as Cityscapes, VOC, CamVid and LabelMe write them: what becomes of each pixel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages.datasets.shared.classes import ClassRule
from stages.datasets.shared.colors import default_color
from stages.drawing.colors import mask_as_rgb
from stages.pairs.layout import IGNORED, PixelClass, ignored_class
from stages.pipeline.params.sections import MOST_CLASSES
from tests.damage import refused
from tests.files import make_pairs, noise, save
from tests.sources import SIZE, drawn, opened, refusal

VALUES = np.zeros((SIZE, SIZE), np.uint8)
VALUES[2:6], VALUES[6:8, :4], VALUES[12:] = 7, 26, 255
ROAD, CAR, VOID = (128, 64, 128), (0, 0, 142), (224, 224, 192)


def make(folder: Path, mask: np.ndarray | Image.Image, name: str = "a.png", image: str = "a.png") -> Path:
    """A folder of one pair."""
    save(folder / "images" / image, noise(SIZE, SIZE))
    path = folder / "masks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    mask.save(path) if isinstance(mask, Image.Image) else save(path, mask)
    return folder


def palette_image(values: np.ndarray) -> Image.Image:
    image = Image.fromarray(values).convert("P")
    colors = np.zeros((256, 3), np.uint8)
    colors[7], colors[26], colors[255] = ROAD, CAR, VOID
    image.putpalette(colors.tobytes())
    return image


def in_colours(values: np.ndarray) -> np.ndarray:
    colors = np.zeros((256, 3), np.uint8)
    colors[7], colors[26], colors[255] = ROAD, CAR, VOID
    return np.asarray(colors[values])


EXPECTED = np.select([VALUES == 7, VALUES == 26, VALUES == 255], [1, 2, IGNORED], 0)
BY_VALUE: dict[str, Any] = {"classes": ["road", "car"], "mask_values": [7, 26], "ignore_value": 255}
BY_COLOUR: dict[str, Any] = {
    "classes": ["road", "car"],
    "class_colors": ["#804080", "#00008e"],
    "ignore_value": "#e0e0c0",
}


@pytest.mark.parametrize(
    ("mask", "options"),
    [
        (VALUES, BY_VALUE),
        (np.repeat(VALUES[:, :, None], 3, axis=2), BY_VALUE),
        (palette_image(VALUES), BY_VALUE),
        (VALUES, {"classes": "all", "ignore_value": 255}),
        (palette_image(VALUES), {"classes": "all", "ignore_value": 255}),
        (in_colours(VALUES), BY_COLOUR),
        (palette_image(VALUES), BY_COLOUR),
        (np.dstack([in_colours(VALUES), np.full(VALUES.shape, 255, np.uint8)]), BY_COLOUR),
    ],
    ids=["grey", "grey RGB", "palette", "all grey", "all of a palette", "colours", "colours of a palette", "RGBA"],
)
def test_each_pixel_gets_the_place_of_its_class(tmp_path: Path, mask: Any, options: dict[str, Any]) -> None:
    folder = make(tmp_path, mask)
    assert np.array_equal(drawn(folder, **options).targets[0, :, :, 0], EXPECTED)
    found = opened(folder, **options)
    assert (found.layout.classes, found.layout.kind) == (3, "classes")
    assert found.classes[0] == PixelClass("background", 0, "#000000")


def test_all_classes_of_colour_masks_are_named_by_their_colours_in_order(tmp_path: Path) -> None:
    folder = make(tmp_path, in_colours(VALUES))
    names = [each.name for each in opened(folder, classes="all", ignore_value="#e0e0c0").classes]
    assert names == ["background", "#00008e", "#804080"]
    mask = drawn(folder, classes="all", ignore_value="#e0e0c0").targets[0, :, :, 0]
    assert np.array_equal(mask, np.select([VALUES == 26, VALUES == 7, VALUES == 255], [1, 2, IGNORED], 0))


def test_all_classes_are_those_of_both_sets_with_the_colours_of_their_palettes(tmp_path: Path) -> None:
    make(tmp_path, palette_image(np.where(VALUES == 26, 7, VALUES % 255).astype(np.uint8)))
    make(tmp_path, palette_image(np.where(VALUES == 26, 26, 0).astype(np.uint8)), "b.png", "b.png")
    options: dict[str, Any] = {"classes": "all", "test_pattern": "b.png"}
    train, test = (opened(tmp_path, item, **options) for item in ("train", "test"))
    assert train.classes == test.classes
    assert train.classes[1:] == [PixelClass("7", 7, "#804080"), PixelClass("26", 26, "#00008e")]


def test_names_alone_stand_for_the_values_from_1_and_with_the_background_from_0(tmp_path: Path) -> None:
    mask = np.arange(SIZE * SIZE, dtype=np.uint8).reshape(SIZE, SIZE) % 3
    folder = make(tmp_path, mask)
    for names in (["road", "car"], ["background", "road", "car"]):
        found = opened(folder, classes=names)
        assert [tuple(each) for each in found.classes] == [
            ("background", 0, "#000000"),
            ("road", 1, default_color(1)),
            ("car", 2, default_color(2)),
        ]
        assert np.array_equal(found.draw(range(1)).targets[0, :, :, 0], mask)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("aachen_1_leftImg8bit.png", "aachen_1_gtFine_labelIds.png"),
        ("aachen_1_leftImg8bit.png", "aachen_1_gtCoarse_labelTrainIds.png"),
        ("0001TP_6690.png", "0001TP_6690_L.png"),
    ],
)
def test_masks_are_found_by_the_names_that_cityscapes_and_camvid_give_them(
    tmp_path: Path, image: str, mask: str
) -> None:
    folder = make(tmp_path, VALUES, mask, image)
    assert [tuple(pair) for pair in opened(folder, **BY_VALUE).origins.files] == [(f"images/{image}", f"masks/{mask}")]


@pytest.mark.parametrize(
    ("mask", "options", "line"),
    [
        (VALUES, {"classes": ["a", "b"]}, "holds 7, 26, 255, for which dataset.classes has no name; dataset.mask_val"),
        (
            in_colours(VALUES),
            {"classes": ["a", "b"]},
            "a mask in colours; dataset.class_colors says which stand for the classes",
        ),
        (VALUES, {**BY_VALUE, "ignore_value": "#ffffff"}, "dataset.ignore_value is '#ffffff', allowed is a number"),
        (in_colours(VALUES), {**BY_COLOUR, "ignore_value": 255}, "dataset.ignore_value is 255, allowed is a colour"),
        (VALUES * 0, {"classes": "all"}, "dataset.classes is 'all', but no mask holds anything but 0, as "),
        (np.uint16(300) * VALUES, {**BY_COLOUR}, "colours of uint16, allowed are those of 8 bits"),
    ],
    ids=["unknown values", "colours by value", "colour", "value", "none", "16 bits"],
)
def test_masks_that_do_not_fit_are_refused(tmp_path: Path, mask: Any, options: dict[str, Any], line: str) -> None:
    assert line in refusal(make(tmp_path, mask), **options)


def test_transparent_pixels_of_a_colour_are_refused_and_black_ones_are_background(tmp_path: Path) -> None:
    opaque = np.where(VALUES > 0, 255, 0).astype(np.uint8)
    folder = make(tmp_path, np.dstack([in_colours(VALUES), opaque]))
    assert np.array_equal(drawn(folder, **BY_COLOUR).targets[0, :, :, 0], EXPECTED)
    red = np.full((SIZE, SIZE, 3), (255, 0, 0), np.uint8)
    for colors in (red, 255 - red, np.maximum(in_colours(VALUES), 1)):
        make(tmp_path, np.dstack([colors, opaque]))
        ways: list[dict[str, Any]] = [{"classes": "all"}, {"classes": ["red"], "class_colors": ["#ff0000"]}, {}]
        for options in ways:
            line = refusal(folder, **options)
            assert "transparent pixels that are not black" in line or "its alpha channel is not" in line


def test_a_background_may_be_written_as_labelme_does(tmp_path: Path) -> None:
    folder = make(tmp_path, VALUES)
    for name in ("_background_", "Background"):
        options: dict[str, Any] = {"classes": [name, "road", "car"], "mask_values": [0, 7, 26], "ignore_value": 255}
        assert [each.name for each in opened(folder, **options).classes] == ["background", "road", "car"]
        assert np.array_equal(drawn(folder, **options).targets[0, :, :, 0], EXPECTED)


def test_a_blurred_mask_is_refused(tmp_path: Path) -> None:
    assert "a.jpg: compressed with loss, which blurs" in refusal(make(tmp_path, VALUES, "a.jpg"), **BY_VALUE)
    blurred = make(tmp_path / "b", VALUES, "a.webp")
    assert "a.webp: compressed with loss, which blurs" in refusal(blurred, **BY_VALUE)
    folder = make(tmp_path / "c", VALUES)
    Image.fromarray(VALUES).save(folder / "masks/a.webp", lossless=True)
    (folder / "masks/a.png").unlink()
    assert np.array_equal(drawn(folder, **BY_VALUE).targets[0, :, :, 0], EXPECTED)


def test_unknown_colours_are_named(tmp_path: Path) -> None:
    rule = ClassRule(
        [PixelClass("background", 0, "#000000"), PixelClass("road", 0x804080, "#804080")], True, None, True
    )
    make(tmp_path, in_colours(VALUES))
    assert "holds #00008e, #e0e0c0, for which dataset.classes has no name; dataset.class_colors" in refused(
        lambda: rule.read(tmp_path / "masks/a.png")
    )


def test_a_mask_without_objects_among_masks_in_colours_is_background(tmp_path: Path) -> None:
    make(tmp_path, in_colours(VALUES))
    make(tmp_path, np.zeros((SIZE, SIZE), np.uint8), "b.png", "b.png")
    make(tmp_path, np.zeros((SIZE, SIZE, 3), np.uint8), "c.png", "c.png")
    for options in (BY_COLOUR, {"classes": "all", "ignore_value": "#e0e0c0"}):
        assert len(opened(tmp_path, **options).classes) == 3
        first, *others = drawn(tmp_path, **options).targets[..., 0]
        assert set(np.unique(first)) == {0, 1, 2, IGNORED}
        assert not np.any(others)


def test_black_and_white_among_masks_in_colours_is_white_in_any_depth(tmp_path: Path) -> None:
    make(tmp_path, in_colours(VALUES))
    make(tmp_path, Image.fromarray(VALUES == 7), "b.png", "b.png")  # of one bit
    options: dict[str, Any] = {"classes": ["road", "sky"], "class_colors": ["#804080", "#ffffff"]}
    assert np.array_equal(drawn(tmp_path, **options).targets[1, :, :, 0], np.where(VALUES == 7, 2, 0))
    assert "#ffffff" in [each.name for each in opened(tmp_path, classes="all").classes]


def test_labels_among_masks_in_colours_are_refused(tmp_path: Path) -> None:
    make(tmp_path, in_colours(VALUES))
    make(tmp_path, (VALUES == 7).astype(np.uint8), "b.png", "b.png")
    assert "masks/b.png: holds #010101, for which dataset.classes has no name" in refusal(tmp_path, **BY_COLOUR)


def test_palettes_of_their_own_are_told_apart_by_their_colours(tmp_path: Path) -> None:
    for name, color in (("a.png", ROAD), ("b.png", CAR)):
        palette = Image.fromarray((VALUES == 7).astype(np.uint8)).convert("P")
        palette.putpalette([0, 0, 0, *color, *[0] * 762])
        make(tmp_path, palette, name, name)
    found = opened(tmp_path, classes="all")
    assert [each.name for each in found.classes] == ["background", "#00008e", "#804080"]
    assert [sorted(np.unique(mask)) for mask in found.draw(range(2)).targets] == [[0, 2], [0, 1]]


@pytest.mark.parametrize(
    "mask", [np.tile(np.arange(0, 256, 17).astype(np.uint8), (SIZE, 1)), noise(SIZE, SIZE, 1), noise(SIZE, SIZE)]
)
def test_smooth_edges_and_images_are_no_classes(tmp_path: Path, mask: np.ndarray) -> None:
    assert "values beside 0; is it an image, or are its edges smoothed?" in refusal(make(tmp_path, mask), classes="all")


def test_what_fills_a_mask_up_is_ignored(tmp_path: Path) -> None:
    mask = drawn(make(tmp_path, VALUES), **BY_VALUE, fit="pad", image_size=SIZE + 8).targets[0, :, :, 0]
    assert np.array_equal(mask[:SIZE, :SIZE], EXPECTED)
    assert (mask[SIZE:] == IGNORED).all()
    assert (mask[:, SIZE:] == IGNORED).all()


def test_every_page_of_a_stack_counts(tmp_path: Path) -> None:
    pages = np.stack([VALUES % 7, np.where(VALUES == 26, 5, 0)]).astype(np.uint8)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    tifffile.imwrite(tmp_path / "images/a.tif", np.stack([noise(SIZE, SIZE, 1)] * 2), photometric="minisblack")
    tifffile.imwrite(tmp_path / "masks/a.tif", pages, photometric="minisblack")
    found = opened(tmp_path, classes="all")
    assert [each.value for each in found.classes] == sorted({0, *np.unique(pages).tolist()})
    numbers = np.array([each.value for each in found.classes])
    assert np.array_equal(numbers[found.draw(range(2)).targets[..., 0]], pages)


@given(st.lists(st.integers(0, 255), min_size=2, max_size=40, unique=True), st.integers(0, 2**32))
def test_a_rule_takes_each_value_to_its_class_and_the_rest_to_the_background(values: list[int], seed: int) -> None:
    ignored, *known = values
    mask = np.random.default_rng(seed).integers(0, 256, (9, 7), np.uint8)
    classes = [PixelClass("background", 0, "#000000")]
    classes += [PixelClass(str(value), value, "#000000") for value in known if value]
    found, seen = ClassRule(classes, False, ignored, False).of(mask.astype(np.int64), Path("a.png"))
    places = {each.value: place for place, each in enumerate(classes)} | {ignored: IGNORED}
    expected = [[places.get(value, 0) for value in row] for row in mask.tolist()]
    assert found[:, :, 0].tolist() == expected
    flat = np.array(expected)
    assert seen.foreground == ((flat > 0) & (flat != IGNORED)).sum()


def test_drawn_colours_of_classes_differ() -> None:
    assert len({default_color(place) for place in range(60)}) == 60


def test_ignored_pixels_have_the_number_behind_that_of_the_last_class() -> None:
    assert IGNORED == MOST_CLASSES + 1


@pytest.mark.parametrize("taken", [["#808080"], ["#808080", "#c0c0c0"], ["#808080", "#c0c0c0", "#ff0000"]])
def test_ignored_pixels_are_drawn_in_a_grey_of_their_own(taken: list[str]) -> None:
    classes = [PixelClass(color, value, color) for value, color in enumerate(taken)]
    assert ignored_class(classes).color not in taken
    drawing = mask_as_rgb(np.array([[[IGNORED], [0]]], np.uint8), classes)
    assert len(np.unique(drawing.reshape(-1, 3), axis=0)) == 2


@pytest.mark.parametrize("names", [["road", "_background_"], ["background", "Background", "road"]])
def test_the_background_has_one_name(tmp_path: Path, names: list[str]) -> None:
    make_pairs(tmp_path, 1)
    line = refused(lambda: opened(tmp_path, classes=names))
    assert f"dataset.classes names {names[1]!r}" in line
