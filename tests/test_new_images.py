"""New images: found, cut into tiles, predicted and joined; or refused in one line."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from stages import predict, triage
from stages.datasets.shared.decode import read_header
from stages.datasets.shared.image import warn_of_scale
from stages.datasets.shared.tiles import Cut, scale
from stages.learning import new_images
from stages.learning.new_images import Mapper
from stages.pipeline.errors import UserError
from tests import pixelwise
from tests.cores import SIZE, files_below, nothing_but, random_images, save_image, spotted, teach, write_core


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


@pytest.fixture(scope="module")
def mapper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapper]:
    """A mapper whose network grows only slowly surer with brightness."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("mapper"))
        patch.setattr(new_images, "set_up_tensorflow", lambda: 1)
        teach(gain=4)
        yield Mapper()


sides = st.integers(1, 3 * SIZE)
cuts = st.builds(Cut, st.just(SIZE), st.booleans(), st.sampled_from(["tile", "pad"]), st.integers(0, SIZE - 1))


@given(sides, sides, cuts)
def test_tiles_joined_say_of_a_pixel_what_the_whole_would(mapper: Mapper, height: int, width: int, cut: Cut) -> None:
    mapper.cut = cut
    (image,) = random_images(1, height, width, seed=height)
    found = mapper.probabilities(image)
    assert (found.shape, str(found.dtype)) == ((height, width, 1), "float32")
    np.testing.assert_allclose(found[:, :, 0], pixelwise.probabilities(image / 255, 4), atol=1e-5)


@given(sides, sides, cuts)
def test_an_image_that_is_scaled_to_be_cut_is_scaled_back(mapper: Mapper, height: int, width: int, cut: Cut) -> None:
    mapper.cut = cut = cut._replace(fit="resize")
    (image,) = random_images(1, height, width, seed=height)
    scaled = scale(image, cut.scaled(height), cut.scaled(width))
    expected = pixelwise.probabilities(scaled / 255, 4).astype(np.float32)[:, :, None]
    np.testing.assert_allclose(mapper.probabilities(image), scale(expected, height, width), atol=1e-5)


def test_where_tiles_overlap_their_mean_counts(mapper: Mapper, monkeypatch: pytest.MonkeyPatch) -> None:
    def brightest(tiles: np.ndarray) -> np.ndarray:
        """For each pixel of a tile the value of its brightest one."""
        values = tiles.max(axis=(1, 2, 3), keepdims=True) / np.float32(255)
        return np.broadcast_to(values, (*tiles.shape[:3], 1))

    monkeypatch.setattr(mapper._predictor, "map", brightest)
    mapper.cut = Cut(SIZE, whole=False, fit="tile", overlap=8)
    image = np.zeros((SIZE, 28, 3), np.uint8)
    image[0, 0], image[0, 27] = 102, 255  # in the first tile, and in the last, which is moved back to column 12
    row = mapper.probabilities(image)[3, :, 0]
    expected = [0.4] * 8 + [0.2] * 4 + [(0.4 + 0 + 1) / 3] * 4 + [0.5] * 8 + [1] * 4
    np.testing.assert_allclose(row, expected, atol=1e-6)


def grey() -> None:
    save_image(Path("new/a.png"), spotted(20, 20))
    save_image(Path("new/b.png"), spotted(20, 20, channels=1))


def broken() -> None:
    Path("new").mkdir()
    Path("new/a.png").write_bytes(b"none")


def stack() -> None:
    Path("new").mkdir()
    tifffile.imwrite("new/a.tif", np.stack([spotted(20, 20)] * 2), photometric="rgb")


def reals() -> None:
    Path("new").mkdir()
    tifffile.imwrite("new/a.tif", spotted(20, 20) / np.float32(255), photometric="rgb")


REFUSALS: dict[str, tuple[Callable[[], None], str]] = {
    "no folder": (lambda: None, "new: no such folder"),
    "no images": (
        lambda: Path("new").mkdir(),
        "new: no images, looked for .bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp",
    ),
    "other channels": (grey, "new/b.png: 1 channels, the network was trained with 3"),
    "a broken image": (broken, "new/a.png: broken image, or none"),
    "a stack": (stack, "new/a.tif: 2 pages, allowed is an image a file"),
    "reals": (reals, "new/a.tif: values of 32 bits, the network was trained with those of 8 or 16"),
}
COMMANDS: dict[str, Callable[[list[str]], None]] = {"predict": predict.main, "triage": triage.main}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("case", REFUSALS)
def test_images_that_cannot_be_mapped_are_refused_and_nothing_is_left(taught: Path, command: str, case: str) -> None:
    make, line = REFUSALS[case]
    make()
    there = {path.name for path in taught.iterdir()}
    with pytest.raises(UserError) as caught:
        COMMANDS[command](["new", "out"])
    assert str(caught.value) == line
    assert {path.name for path in taught.iterdir()} == there


def test_files_that_are_passed_over_and_images_on_another_scale_are_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teach(random_images(1, channels=1))
    save_image(folder / "new/a.png", spotted(20, 20, channels=1).astype(np.uint16) * 16)
    save_image(folder / "new/.b.png", spotted(20, 20, channels=1))
    (folder / "new/c.heic").write_bytes(b"none")
    predict.main(["new", "out"])
    said = capsys.readouterr().err
    assert "1 files skipped: new/.b.png: a hidden file" in said
    assert "1 files skipped: new/c.heic: not read" in said
    assert "1 images of 16 bits hold no value above 3360, where the network takes 65535 as white" in said
    assert files_below(folder / "out") == ["a.png"]


def test_images_beyond_the_range_of_the_core_are_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "new/a.png"
    save_image(path, spotted(20, 20, channels=1).astype(np.uint16) * 16)
    warn_of_scale([path], [read_header(path)], 4095)
    assert capsys.readouterr().err == ""
    warn_of_scale([path], [read_header(path)], 1023)
    assert "a.png: holds 3360, where the network takes 1023 as white, as it does all above" in capsys.readouterr().err


def test_a_network_that_was_replaced_after_the_command_started_predicts_nothing(taught: Path) -> None:
    save_image(taught / "new/a.png", spotted(20, 20))
    mapper = Mapper()
    teach(gain=4)
    with pytest.raises(UserError, match=r"^models/core\.keras: changed since the command started"):
        mapper.map(Path("new"), "a.png")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_is_there_already_is_refused(taught: Path, command: str) -> None:
    save_image(taught / "new/a.png", spotted(20, 20))
    (taught / "out").mkdir()
    with pytest.raises(UserError, match=r"^out: is there already; name a folder that is to be made$"):
        COMMANDS[command](["new", "out"])
    assert files_below(taught / "out") == []


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_core_of_masks_and_its_network_nothing_is_mapped(folder: Path, command: str) -> None:
    save_image(folder / "new/a.png", spotted(20, 20))
    with pytest.raises(UserError, match=r"^data/core\.zarr: missing"):
        COMMANDS[command](["new", "out"])
    write_core(random_images(1))
    with pytest.raises(UserError, match=r"^models/core\.keras: missing; `dvc checkout models/core\.keras`"):
        COMMANDS[command](["new", "out"])
    shutil.rmtree(folder / "data")
    write_core(random_images(2), np.zeros((2, 1), np.uint8), classes=2)
    pixelwise.save(pixelwise.network(SIZE))
    with pytest.raises(UserError, match=r"^data/core\.zarr: its pairs have labels"):
        COMMANDS[command](["new", "out"])
    assert nothing_but(folder, "new")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_network_that_does_not_fit_the_core_is_refused(taught: Path, command: str) -> None:
    save_image(taught / "new/a.png", spotted(20, 20))
    pixelwise.save(pixelwise.network(2 * SIZE))
    line = (
        "data/core.zarr: images of (16, 16, 3), predictions of (16, 16, 1); "
        "the network takes (32, 32, 3) to (32, 32, 1)"
    )
    with pytest.raises(UserError, match=f"^{re.escape(line)}$"):
        COMMANDS[command](["new", "out"])
    assert nothing_but(taught, "new")


def test_new_images_are_looked_for_everywhere_below_the_folder(folder: Path) -> None:
    write_core(random_images(1))
    for name in ("a.png", "b/c/d.tiff", "b/a.jpeg", "e.PNG"):
        save_image(folder / "new" / name, spotted(4, 4))
    assert new_images.find_images(Path("new"), Mapper()) == ["a.png", "b/a.jpeg", "b/c/d.tiff", "e.PNG"]
