"""Command `predict`: masks of new images."""

import shutil
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from stages import predict
from stages.learning import new_images
from stages.pairs.layout import PixelClass
from stages.pipeline.errors import UserError
from tests import pixelwise
from tests.cores import (
    BRIGHT,
    files_below,
    nothing_but,
    random_images,
    read_image,
    save_image,
    spotted,
    teach,
    write_core,
)
from tests.project import ROOT, succeed
from tests.sets import jpeg


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(new_images, "set_up_tensorflow", lambda: 1)
    return tmp_path


@pytest.fixture
def taught(folder: Path) -> Path:
    """A working folder with a core, and its network that finds bright pixels."""
    teach()
    return folder


SIZES = [(16, 16), (32, 48), (17, 33), (40, 23), (5, 7), (1, 30), (100, 16)]


@pytest.mark.parametrize(
    "cut",
    [
        {},
        {"overlap": 6},
        {"fit": "pad"},
        {"fit": "pad", "overlap": 15},
        {"tile": False},
        {"tile": False, "fit": "pad"},
    ],
    ids=str,
)
def test_masks_of_images_of_any_size_are_the_network_s_for_each_pixel(folder: Path, cut: dict[str, Any]) -> None:
    teach(**cut)
    for height, width in SIZES:
        save_image(folder / f"new/{height}x{width}.png", spotted(height, width))
    predict.main(["new", "masks"])
    assert files_below(folder / "masks") == files_below(folder / "new")
    for height, width in SIZES:
        found = read_image(folder / f"masks/{height}x{width}.png")
        assert (str(found.dtype), found.shape) == ("uint8", (height, width))
        assert np.array_equal(found, np.where(spotted(height, width)[:, :, 0] == BRIGHT, 255, 0))


def test_masks_have_the_names_and_folders_of_their_images(taught: Path) -> None:
    image = np.full((20, 20, 3), BRIGHT, np.uint8)
    save_image(taught / "new/a.png", image)
    save_image(taught / "new/deep/er/a.tif", image)
    save_image(taught / "new/deep/b.c.JPG", jpeg(image))
    (taught / "new/notes.txt").touch()
    predict.main(["new", "masks"])
    assert files_below(taught / "masks") == ["a.png", "deep/b.c.png", "deep/er/a.png"]
    assert all((read_image(taught / "masks" / name) == 255).all() for name in files_below(taught / "masks"))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 4])
def test_images_are_read_as_the_core_was(folder: Path, dtype: str, channels: int) -> None:
    core = random_images(1, channels=channels)
    teach(core if dtype == "uint8" else core.astype(np.float32) / np.float32(255))
    image = spotted(21, 18, channels)
    save_image(folder / "new/a.png", image)
    predict.main(["new", "masks"])
    assert np.array_equal(read_image(folder / "masks/a.png"), np.where(image[:, :, 0] == BRIGHT, 255, 0))


def test_two_images_with_one_mask_are_refused(taught: Path) -> None:
    for name in ("a.png", "a.bmp"):
        save_image(taught / "new/in" / name, spotted(20, 20))
    with pytest.raises(UserError, match=r"^new/in/a\.png: two images would have this mask; rename one of them$"):
        predict.main(["new", "masks"])
    assert nothing_but(taught, "new")


def test_masks_are_written_by_the_command_of_its_own(workspace: Path) -> None:
    shutil.copytree(ROOT / "stages", "stages", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    teach(overlap=4)
    save_image(workspace / "new/a.png", spotted(30, 50))
    succeed(workspace, sys.executable, "-B", "-m", "stages.predict", "new", "masks")
    assert np.array_equal(read_image(workspace / "masks/a.png") == 255, spotted(30, 50)[:, :, 0] == BRIGHT)


CLASSES = [PixelClass("background", 0, "#000000"), PixelClass("road", 7, "#804080"), PixelClass("car", 26, "#00008e")]


@pytest.mark.parametrize(
    ("classes", "numbers"),
    [
        (CLASSES, [0, 7, 26]),
        (
            [
                *CLASSES[:2],
                PixelClass("#00008e", 0x00008E, "#00008e"),
            ],
            [0, 7, 142],
        ),
        ([*CLASSES[:2], PixelClass("dark", 1000, "#00008e")], [0, 1, 2]),
    ],
    ids=["values", "a small colour", "places"],
)
def test_masks_of_classes_are_their_values_in_their_colours(
    folder: Path, classes: list[PixelClass], numbers: list[int]
) -> None:
    """Of a network that finds the second class where a pixel is bright, and the first where it is dark."""
    write_core(random_images(1), np.zeros((1, 16, 16, 1), np.uint8), pixel_classes=classes)
    images = keras.Input((16, 16, 3))
    layer = keras.layers.Conv2D(3, 1, activation="softmax")
    network = keras.Model(images, layer(images))
    layer.set_weights([np.stack([np.full((1, 1, 3), gain) for gain in (-99, 0, 33)], axis=3), np.array([0, -5, -40])])
    pixelwise.save(network)
    save_image(folder / "new/a.png", spotted(40, 23))
    predict.main(["new", "masks"])
    with Image.open(folder / "masks/a.png") as mask:
        bright = spotted(40, 23)[:, :, 0] == BRIGHT
        assert np.array_equal(np.asarray(mask), np.where(bright, numbers[2], numbers[1]))
        assert np.array_equal(
            np.asarray(mask.convert("RGB")), np.where(bright[:, :, None], [0, 0, 0x8E], [0x80, 0x40, 0x80])
        )
    lines = (folder / "masks/classes.csv").read_text().splitlines()
    assert lines[:3] == ["value,name,color", "0,background,#000000", "7,road,#804080"] or numbers[1] == 1
