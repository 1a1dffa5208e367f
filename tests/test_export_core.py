"""Command `export_core`: the core as files, which data set folder reads again."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from stages import export_core
from stages.pairs.layout import Origins
from stages.pairs.read import Pairs
from stages.pipeline import paths
from stages.pipeline.errors import UserError
from tests.cores import (
    SIZE,
    files_below,
    random_images,
    random_masks,
    read_again,
    read_image,
    save_image,
    write_core,
    write_photos,
)
from tests.files import make_airbus
from tests.project import ROOT, run, succeed
from tests.sources import opened


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that is empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


def test_exported_tiles_are_called_by_their_file_and_place(folder: Path) -> None:
    write_photos(folder)
    export_core.main(["tiles"])
    names = ["a_0_16", "b.c_0_16", "b.c_16_32"]
    assert files_below(folder / "tiles/images") == [f"{name}.png" for name in names]
    for found, expected in zip(read_again("tiles", 3), Pairs(paths.CORE).read([1, 2, 0]), strict=True):
        assert np.array_equal(found, expected)


def test_tiles_that_would_have_one_name_have_their_number_before_it(folder: Path) -> None:
    tiles = np.array([[0, 0, 0, 16], [1, 0, 16, 0]], np.int32)
    core = write_core(random_images(2), random_masks(2), origins=Origins([["a.tif"], ["a_0.tif"]], tiles))
    assert export_core.names_of(core) == ["00000000_a_0_0_16", "00000001_a_0_0_16"]


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


def test_originals_of_ships_come_with_their_lines_of_the_table(folder: Path) -> None:
    make_airbus(folder / "ships", 4, 16)
    source = opened(folder / "ships", name="airbus")
    block = source.draw(range(4))
    write_core(*block, rows=[1, 3], origins=source.origins, path="ships", name="airbus")
    export_core.main(["originals", "--originals"])
    again = opened(folder / "originals", name="airbus")
    assert [files[0] for files in again.origins.files] == [source.origins.files[row][0] for row in (1, 3)]
    for found, expected in zip(again.draw(range(2)), block, strict=True):
        assert np.array_equal(found, expected[[1, 3]])


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
    assert succeed(workspace, *command).splitlines() == [
        "export_core: 1 chosen pairs, 2 files in files",
        "read again by -S dataset.name=folder -S dataset.path=files -S dataset.image_size=16",
    ]
