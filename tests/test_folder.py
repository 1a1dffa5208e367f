"""A folder of one's own: which files make pairs, and what is said of those that make none."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from stages.pairs.layout import Block
from tests.files import black_and_white, make_folder, make_pairs, noise, save
from tests.sets import same
from tests.sources import COLOURS, LABELS, SHAPE, SIZE, drawn, opened, refusal

Damage = Callable[[Path], object]


def test_pairs_are_matched_by_what_stands_before_the_ending_in_sorted_order(tmp_path: Path) -> None:
    pictures = {name: noise(SIZE, SIZE, seed=seed) for seed, name in enumerate(["b.png", "a.tif", "10.bmp", "9.png"])}
    masks = {
        name: black_and_white(SIZE, SIZE, seed) for seed, name in enumerate(["9.bmp", "b.tiff", "a.png", "10.png"])
    }
    make_folder(tmp_path, pictures, masks)
    found = opened(tmp_path)
    expected = [("10.bmp", "10.png"), ("9.png", "9.bmp"), ("a.tif", "a.png"), ("b.png", "b.tiff")]
    assert [tuple(files) for files in found.origins.files] == [(f"images/{i}", f"masks/{m}") for i, m in expected]
    block = found.draw(range(4))
    assert np.array_equal(block.images, np.stack([pictures[name] for name, _ in expected]))
    assert np.array_equal(block.targets[..., 0], np.stack([masks[name] // 255 for _, name in expected]))


def test_patterns_say_where_images_and_masks_are(tmp_path: Path) -> None:
    save(tmp_path / "photos/may/a.png", COLOURS)
    save(tmp_path / "photos/june/b.png", COLOURS)
    save(tmp_path / "labels/a.png", SHAPE)
    save(tmp_path / "labels/b.png", SHAPE)
    (tmp_path / "photos/june/notes.txt").write_text("no image")
    found = opened(tmp_path, images="photos/**/*", masks="labels/*.png")
    assert [files[0] for files in found.origins.files] == ["photos/june/b.png", "photos/may/a.png"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"images": "photos/*"},
            "no pairs: 0 images are photos/*, 2 masks are masks/*, and none has the name of an image",
        ),
        ({"images": "../*/*.png"}, "leads out of"),
        ({"masks": "../*/*.png"}, "leads out of"),
        ({"images": "/elsewhere/*.png"}, "'/elsewhere/*.png': Non-relative patterns are unsupported; allowed are glob"),
        (
            {"images": "masks/*"},
            "masks/a.png: an image by masks/* and a mask by masks/*; allowed are patterns that tell",
        ),
        ({"images": "[ix]*/*.png"}, "x/b.png and images/b.png are both called 'b'; images and masks are matched by"),
        ({"path": "nowhere"}, "dataset.path is 'nowhere', allowed is a folder with images/* and masks/*"),
    ],
)
def test_patterns_that_lead_nowhere_or_out_of_the_folder_are_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    make_pairs(tmp_path / "outside", 1)
    (tmp_path / "outside/a.png").write_bytes((tmp_path / "outside/images/a.png").read_bytes())
    save(tmp_path / "inside/x/b.png", COLOURS)
    assert said in refusal(make_pairs(tmp_path / "inside", 2), **changes)


@pytest.mark.parametrize("link", ["images/c.png", "images"])
def test_links_that_lead_out_of_the_folder_are_refused(tmp_path: Path, link: str) -> None:
    outside = make_pairs(tmp_path / "outside", 3)
    inside = make_pairs(tmp_path / "inside", 3)
    at = inside / link
    shutil.rmtree(at) if at.is_dir() else at.unlink()
    at.symlink_to(outside / link)
    assert "leads out of" in refusal(inside, strict=False)


def test_links_within_the_folder_and_to_it_are_followed(tmp_path: Path) -> None:
    inside = make_pairs(tmp_path / "inside", 2)
    (inside / "images/a.png").rename(inside / "kept.png")
    (inside / "images/a.png").symlink_to(inside / "kept.png")
    (tmp_path / "link").symlink_to(inside)
    assert drawn(tmp_path / "link").images.shape == (2, SIZE, SIZE, 3)


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    make_pairs(tmp_path, 2)
    save(tmp_path / "images/b.tif", COLOURS)
    assert "images/b.tif and images/b.png are both called 'b'" in refusal(tmp_path, strict=False)


def test_names_that_cannot_be_printed_are_refused(tmp_path: Path) -> None:
    make_pairs(tmp_path, 2)
    (tmp_path / "images/a.png").rename(tmp_path / "images/a\nb.png")
    assert "allowed are names of printable characters" in refusal(tmp_path, strict=False)


# What is wrong in a folder


def cut_off(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def spoil(path: Path) -> None:
    """Change what is compressed in an image."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


WRONG: dict[str, tuple[str, Damage, str]] = {
    "an image that is none": (
        "images",
        lambda path: path.write_text("no image"),
        "images/c.png: broken image, or none",
    ),
    "an empty image": ("images", lambda path: path.write_bytes(b""), "images/c.png: broken image, or none"),
    "an image cut off": ("images", cut_off, "images/c.png: broken image"),
    "an image of which a byte is another": ("images", spoil, "images/c.png: broken image"),
    "an image of another kind": (
        "images",
        lambda path: Image.fromarray(COLOURS).convert("LA").save(path),
        "images/c.png: mode LA, allowed are grey, RGB and RGBA",
    ),
    "a mask that is none": ("masks", lambda path: path.write_text("no mask"), "masks/c.png: broken image, or none"),
    "a mask cut off": ("masks", cut_off, "masks/c.png: broken image"),
    "a mask of another size": (
        "masks",
        lambda path: save(path, SHAPE[:-1]),
        "masks/c.png: 15×16 pixels, its image images/c.png has 16×16",
    ),
    "a mask of classes": ("masks", lambda path: save(path, LABELS), "masks/c.png: holds the values 1, 2, 3 beside 0"),
    "a mask in colours": ("masks", lambda path: save(path, COLOURS), "masks/c.png: a mask in colours"),
}
LONELY: dict[str, tuple[str, Damage, str]] = {
    "an image without a mask": ("masks", lambda path: path.unlink(), "images/c.png: no mask of the same name"),
    "a mask without an image": ("images", lambda path: path.unlink(), "masks/c.png: no image of the same name"),
}


@pytest.mark.parametrize(("place", "damage", "said"), [*WRONG.values(), *LONELY.values()], ids=[*WRONG, *LONELY])
def test_what_is_wrong_is_an_error_or_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, damage: Damage, said: str
) -> None:
    make_pairs(tmp_path, 5)
    sound = drawn(tmp_path)
    assert capsys.readouterr().err == ""
    damage(tmp_path / place / "c.png")
    assert f"{tmp_path}/{said}" in refusal(tmp_path, strict=True)
    rest = drawn(tmp_path, strict=False)
    assert same(rest, Block(*(np.delete(array, 2, axis=0) for array in sound)))
    counted = "1 files" if "of the same name" in said else "1 of 5 images"
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith(f"warning: {counted} left out: {tmp_path}/{said}")] == lines[-1:]


@pytest.mark.parametrize("strict", [True, False])
def test_a_tiff_whose_compressed_values_are_damaged_is_broken(tmp_path: Path, strict: bool) -> None:
    make_folder(tmp_path, {}, {"a.png": SHAPE})
    (tmp_path / "images").mkdir(exist_ok=True)
    tifffile.imwrite(tmp_path / "images/a.tif", COLOURS, photometric="rgb", compression="zlib")
    spoil(tmp_path / "images/a.tif")
    assert "images/a.tif: broken image: " in refusal(tmp_path, strict=strict)


def test_several_that_are_wrong_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_pairs(tmp_path, 5)
    for stem in "bd":
        (tmp_path / f"images/{stem}.png").write_text("no image")
    line = refusal(tmp_path)
    assert "images/b.png: broken image, or none; and 1 more; dataset.strict=false leaves such out" in line
    assert [files[0] for files in opened(tmp_path, strict=False).origins.files] == [f"images/{s}.png" for s in "ace"]
    assert capsys.readouterr().err.startswith("warning: 2 of 5 images left out: ")


@pytest.mark.parametrize("strict", [True, False])
def test_a_folder_in_which_all_is_broken_is_refused(tmp_path: Path, strict: bool) -> None:
    make_pairs(tmp_path, 3)
    for path in tmp_path.glob("masks/*"):
        cut_off(path)
        (tmp_path / "images" / path.name).write_text("no image")
    assert "images/a.png: broken image, or none; and 2 more" in refusal(tmp_path, strict=strict)
