"""The plain commands: the core as files, masks of new images, and which of these to label next."""

import csv
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stages import datasets, export_core, hardware, new_images, pictures, predict, store, triage
from stages.datasets.tiles import Cut, scale
from stages.errors import UserError
from stages.new_images import Mapper
from stages.scores import tier
from stages.store import Origins, Pairs
from tests import pixelwise
from tests.project import ROOT, dataset_options, run, succeed
from tests.sets import jpeg, write_set

SIZE = 16
DARK, BRIGHT = 40, 210


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hardware, "set_up_tensorflow", lambda: 1)
    return tmp_path


def random_images(count: int, height: int = SIZE, width: int = SIZE, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), np.uint8)


def random_masks(count: int, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 2, (count, height, width, 1), np.uint8)


def save_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(path)


def read_image(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def files_below(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


def write_core(
    images: np.ndarray,
    targets: np.ndarray | None = None,
    rows: list[int] | None = None,
    classes: int | None = None,
    origins: Origins | None = None,
    **parameters: Any,
) -> Pairs:
    """The core that has some rows of a pool of these pairs, as stage select writes it."""
    made = {"image_size": images.shape[1], "tile": True, "overlap": 0, "fit": "tile", **parameters}
    pool = write_set(Path("data/train.zarr"), images, targets, classes, origins, parameters=made)
    rows = list(range(len(images))) if rows is None else rows
    store.copy_rows(pool, np.array(rows), export_core.CORE, {"core_of": pool.attributes})
    return Pairs(export_core.CORE)


# Export


def read_again(path: str, count: int, **options: Any) -> store.Block:
    """What data set folder makes of exported files."""
    changes = {"image_size": SIZE, "test_share": 0.0, **options}
    source = datasets.source(dataset_options("folder", path=path, **changes), "train")
    assert source.layout.count == count
    return source.draw(range(count))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_exported_pairs_are_the_core_and_data_set_folder_reads_them_again(folder: Path, channels: int) -> None:
    core = write_core(random_images(12, channels=channels), random_masks(12), rows=[10, 2, 7])
    export_core.main(["out/files"])
    names = ["00000002.png", "00000007.png", "00000010.png"]
    assert files_below(folder / "out/files") == [f"{kind}/{name}" for kind in ("images", "masks") for name in names]
    in_order = core.read([1, 2, 0])
    for name, image, mask in zip(names, *in_order, strict=True):
        assert np.array_equal(read_image(folder / f"out/files/images/{name}").reshape(image.shape), image)
        assert np.array_equal(read_image(folder / f"out/files/masks/{name}"), mask[:, :, 0] * 255)
    for found, expected in zip(read_again("out/files", 3), in_order, strict=True):
        assert np.array_equal(found, expected)
    assert [path.name for path in (folder / "out").iterdir()] == ["files"]


def test_exported_pairs_in_float32_are_rounded_to_8_bits(folder: Path) -> None:
    images = np.random.default_rng(0).random((3, SIZE, SIZE, 3), np.float32)
    write_core(images, random_masks(3))
    export_core.main(["files"])
    found = read_again("files", 3, dtype="float32")
    assert np.abs(found.images - images).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(found.targets, random_masks(3))


def test_an_exported_label_stands_in_a_table(folder: Path) -> None:
    labels = np.array([[3], [0], [9], [3]], np.uint8)
    write_core(random_images(4, channels=1), labels, rows=[2, 0, 3], classes=10)
    export_core.main(["files"])
    assert files_below(folder / "files") == [
        "images/00000000.png",
        "images/00000002.png",
        "images/00000003.png",
        "labels.csv",
    ]
    assert (folder / "files/labels.csv").read_text() == "image,label\n00000002,9\n00000000,3\n00000003,3\n"
    assert not (folder / "files/masks").exists()


def write_photos(folder: Path) -> None:
    """Two photos and their masks, and the core of three of their tiles."""
    for name, image, mask in zip(("b.c", "a"), random_images(2, 32, 48), random_masks(2, 32, 48), strict=True):
        save_image(folder / f"photos/images/{name}.png", image)
        save_image(folder / f"photos/masks/{name}.png", mask * 255)
    options = dataset_options("folder", path="photos", image_size=SIZE, test_share=0.0)
    source = datasets.source(options, "train")
    images, masks = source.draw(range(12))
    write_core(images, masks, rows=[11, 1, 7], origins=source.origins, path="photos")


def test_exported_tiles_are_called_by_their_file_and_place(folder: Path) -> None:
    write_photos(folder)
    export_core.main(["tiles"])
    names = ["a_0_16", "b.c_0_16", "b.c_16_32"]
    assert files_below(folder / "tiles/images") == [f"{name}.png" for name in names]
    for found, expected in zip(read_again("tiles", 3), Pairs(export_core.CORE).read([1, 2, 0]), strict=True):
        assert np.array_equal(found, expected)


def test_originals_are_copied_whole_and_only_those_of_the_core(folder: Path) -> None:
    write_photos(folder)
    photos = read_again("photos", 12)
    save_image(folder / "photos/images/other.png", random_images(1)[0])
    export_core.main(["originals", "--originals"])
    expected = [f"{kind}/{name}.png" for kind in ("images", "masks") for name in ("a", "b.c")]
    assert files_below(folder / "originals") == expected
    for name in expected:
        assert (folder / "originals" / name).read_bytes() == (folder / "photos" / name).read_bytes()
    for found, original in zip(read_again("originals", 12), photos, strict=True):
        assert np.array_equal(found, original)


def test_an_original_that_is_gone_is_named_and_nothing_is_left(folder: Path) -> None:
    write_photos(folder)
    (folder / "photos/masks/b.c.png").unlink()
    with pytest.raises(UserError, match=r"^photos/masks/b\.c\.png: missing; the core was chosen from it$"):
        export_core.main(["originals", "--originals"])
    assert not list(folder.glob("originals*"))


def test_originals_of_drawn_pairs_are_refused(folder: Path) -> None:
    write_core(random_images(2))
    with pytest.raises(UserError, match=r"^data/core\.zarr: its pairs come from no files; without --originals"):
        export_core.main(["originals", "--originals"])
    assert not list(folder.glob("originals*"))


def test_an_export_to_what_is_there_already_is_refused(folder: Path) -> None:
    write_core(random_images(2))
    for target in (folder / "empty", folder / "file"):
        target.mkdir() if target.name == "empty" else target.touch()
        with pytest.raises(UserError, match=rf"^{target}: is there already; name a folder that is to be made$"):
            export_core.main([str(target)])
    assert files_below(folder / "empty") == []


def test_the_command_of_its_own_says_what_it_wrote_or_one_line(workspace: Path) -> None:
    shutil.copytree(ROOT / "stages", "stages", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-B", "-m", "stages.export_core", "files"]
    refused = run(workspace, *command)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert re.fullmatch(r"export_core: data/core\.zarr: missing; .*\n", refused.stderr)
    write_core(random_images(2), rows=[1])
    assert succeed(workspace, *command) == "export_core: 1 chosen pairs, 2 files in files\n"


# Prediction


@pytest.fixture
def taught(folder: Path) -> Path:
    """A core, and its network that finds what is bright."""
    write_core(random_images(1))
    pixelwise.save(pixelwise.network(SIZE))
    return folder


def spotted(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """An image of dark and bright pixels."""
    bright = np.random.default_rng((seed, height, width)).random((height, width, 1)) < 0.5
    return np.where(bright, np.uint8(BRIGHT), np.uint8(DARK)).repeat(channels, axis=2)


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
def test_masks_of_images_of_any_size_are_what_the_network_says_of_each_pixel(folder: Path, cut: dict[str, Any]) -> None:
    write_core(random_images(1), **cut)
    pixelwise.save(pixelwise.network(SIZE))
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
    write_core(core if dtype == "uint8" else core.astype(np.float32) / np.float32(255))
    pixelwise.save(pixelwise.network(SIZE, channels))
    image = spotted(21, 18, channels)
    save_image(folder / "new/a.png", image)
    predict.main(["new", "masks"])
    assert np.array_equal(read_image(folder / "masks/a.png"), np.where(image[:, :, 0] == BRIGHT, 255, 0))


@pytest.fixture(scope="module")
def mapper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapper]:
    """One whose network grows only slowly surer with brightness."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("mapper"))
        patch.setattr(hardware, "set_up_tensorflow", lambda: 1)
        write_core(random_images(1))
        pixelwise.save(pixelwise.network(SIZE, gain=4))
        yield Mapper()


sides = st.integers(1, 3 * SIZE)
cuts = st.builds(Cut, st.just(SIZE), st.booleans(), st.sampled_from(["tile", "pad"]), st.integers(0, SIZE - 1))


@given(sides, sides, cuts)
@settings(deadline=None, max_examples=60)
def test_tiles_joined_say_of_a_pixel_what_the_whole_would(mapper: Mapper, height: int, width: int, cut: Cut) -> None:
    mapper.cut = cut
    (image,) = random_images(1, height, width, seed=height)
    found = mapper.probabilities(image)
    assert (found.shape, str(found.dtype)) == ((height, width), "float32")
    np.testing.assert_allclose(found, pixelwise.probabilities(image / 255, 4), atol=1e-5)


@given(sides, sides, cuts)
@settings(deadline=None, max_examples=30)
def test_an_image_that_is_scaled_to_be_cut_is_scaled_back(mapper: Mapper, height: int, width: int, cut: Cut) -> None:
    mapper.cut = cut = cut._replace(fit="resize")
    (image,) = random_images(1, height, width, seed=height)
    scaled = scale(image, cut.scaled(height), cut.scaled(width))
    expected = pixelwise.probabilities(scaled / 255, 4).astype(np.float32)[:, :, None]
    np.testing.assert_allclose(mapper.probabilities(image), scale(expected, height, width)[:, :, 0], atol=1e-5)


class Said(NamedTuple):
    """What a network says, as TensorFlow gives it."""

    values: np.ndarray

    def numpy(self) -> np.ndarray:
        return self.values


def test_where_tiles_overlap_their_mean_counts(mapper: Mapper, monkeypatch: pytest.MonkeyPatch) -> None:
    def brightest(tiles: np.ndarray) -> Said:
        """Of each pixel of a tile the value of its brightest one."""
        return Said(np.full(tiles.shape[:3], 1, np.float32) * tiles.max(axis=(1, 2, 3))[:, None, None] / 255)

    monkeypatch.setattr(mapper, "_predict", brightest)
    mapper.cut = Cut(SIZE, whole=False, fit="tile", overlap=8)
    image = np.zeros((SIZE, 28, 3), np.uint8)
    image[0, 0], image[0, 27] = 102, 255  # in the first tile, and in the last, which is moved back to column 12
    row = mapper.probabilities(image)[3]
    expected = [0.4] * 8 + [0.2] * 4 + [(0.4 + 0 + 1) / 3] * 4 + [0.5] * 8 + [1] * 4
    np.testing.assert_allclose(row, expected, atol=1e-6)


def nothing_but(folder: Path, *names: str) -> bool:
    return {path.name for path in folder.iterdir()} == {"data", "models", *names}


def grey() -> None:
    save_image(Path("new/a.png"), spotted(20, 20))
    save_image(Path("new/b.png"), spotted(20, 20, channels=1))


def two_of_a_name() -> None:
    save_image(Path("new/in/a.png"), spotted(20, 20))
    save_image(Path("new/in/a.bmp"), spotted(20, 20))


def broken() -> None:
    Path("new").mkdir()
    Path("new/a.png").write_bytes(b"none")


REFUSALS: dict[str, tuple[Callable[[], None], str]] = {
    "no folder": (lambda: None, "new: no such folder"),
    "no images": (lambda: Path("new").mkdir(), "new: no images, looked for .bmp, .jpeg, .jpg, .png, .tif, .tiff"),
    "other channels": (grey, "new/b.png: 1 channels, the network was trained with 3"),
    "a broken image": (broken, "new/a.png: broken image, or none"),
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


def test_two_images_with_one_mask_are_refused(taught: Path) -> None:
    two_of_a_name()
    with pytest.raises(UserError, match=r"^new/in/a\.png: two images would have this mask; rename one of them$"):
        predict.main(["new", "masks"])
    assert nothing_but(taught, "new")


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
    line = "models/core.keras: takes (32, 32, 3) to (32, 32, 1), images in data/core.zarr are (16, 16, 3)"
    with pytest.raises(UserError, match=f"^{re.escape(line)}$"):
        COMMANDS[command](["new", "out"])
    assert nothing_but(taught, "new")


def test_masks_are_written_by_the_command_of_its_own(workspace: Path) -> None:
    shutil.copytree(ROOT / "stages", "stages", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    write_core(random_images(1), overlap=4)
    pixelwise.save(pixelwise.network(SIZE))
    save_image(workspace / "new/a.png", spotted(30, 50))
    succeed(workspace, sys.executable, "-B", "-m", "stages.predict", "new", "masks")
    assert np.array_equal(read_image(workspace / "masks/a.png") == 255, spotted(30, 50)[:, :, 0] == BRIGHT)


# Triage

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
    write_core(random_images(1))
    pixelwise.save(pixelwise.network(SIZE, gain=GAIN))
    for name, value in VALUES.items():
        save_image(folder / "new" / name, np.full((20, 24, 3), value, np.uint8))
    return folder


def test_the_images_that_are_expected_to_be_worst_come_first(unsure: Path) -> None:
    triage.main(["new", "ranking"])
    lines = ranking(unsure / "ranking")
    assert list(lines[0]) == ["file", "expected_score", "expected_iou", "mean_probability"]
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
        expected = float(triage.expected_iou(probability))
        assert float(line["expected_iou"]) == pytest.approx(expected, rel=1e-3)
        assert float(line["expected_score"]) == pytest.approx(tier(np.array(expected)).item())
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
    monkeypatch.setattr(pictures, "draw_probabilities", lambda path, images, titles: drawn.append((images, titles)))
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
        assert probability.shape == image.shape[:2]
        assert probability.mean() == pytest.approx(float(line["mean_probability"]), rel=1e-5)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_of_any_kind_are_drawn(folder: Path, channels: int, dtype: str) -> None:
    image = spotted(12, 20, channels)
    image = image if dtype == "uint8" else (image / 255).astype(np.float32)
    pictures.draw_probabilities(folder / "a.png", [(image, np.full((12, 20), 0.3))] * 5, ["a" * 99, "b", "c", "$", "_"])
    assert read_image(folder / "a.png").size > 0


def test_triage_says_which_image_to_label_first(unsure: Path, capsys: pytest.CaptureFixture[str]) -> None:
    triage.main(["new", "ranking"])
    assert capsys.readouterr().out == "triage: 6 images in ranking/ranking.csv, the first to label is vague.png\n"


def test_new_images_are_looked_for_everywhere_below_the_folder(folder: Path) -> None:
    for name in ("a.png", "b/c/d.tiff", "b/a.jpeg", "e.PNG"):
        save_image(folder / "new" / name, spotted(4, 4))
    assert new_images.find_images(Path("new"), 3) == ["a.png", "b/a.jpeg", "b/c/d.tiff", "e.PNG"]
