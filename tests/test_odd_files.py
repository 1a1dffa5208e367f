"""Files as people have them: what would end in wrong pairs is read right, or refused in a line whose advice works."""

import re
import tempfile
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages.datasets.shared.mask import Seen, read_mask
from stages.datasets.shared.names import match
from stages.datasets.shared.sense import require_sense
from stages.datasets.shared.tally import Tally
from stages.pairs.layout import Block
from tests.damage import refused
from tests.files import make_folder, make_pairs, noise, save
from tests.project import dataset_options
from tests.sources import COLOURS, LABELS, SHAPE, SIZE, drawn, opened

BLACK_AND_WHITE = SHAPE * np.uint8(255)
BRIGHT = np.where(SHAPE[..., None], 220, 40).astype(np.uint8).repeat(3, axis=2)


def imported(folder: Path, item: str = "train", **changes: Any) -> Block:
    """All pairs of one side, after what stage `generate` checks when it has read them."""
    found = opened(folder, item, **changes)
    block, seen = found.draw_and_see(range(found.layout.count))
    require_sense(found, Tally.of(block, seen, found.classes), item, dataset_options("folder", **changes))
    return block


def line_of(folder: Path, **changes: Any) -> str:
    return refused(lambda: imported(folder, **changes))


def in_palette(numbers: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(numbers.astype(np.uint8))
    image.putpalette([level for colour in colours for level in colour])
    return image


def grey_png(path: Path, bits: int, values: np.ndarray) -> None:
    """A grey PNG of 1, 2 or 4 bits, which Pillow does not write from values."""
    image = in_palette(values, *[(n * 255 // (2**bits - 1),) * 3 for n in range(2**bits)])
    image.save(path, bits=bits)
    content = bytearray(path.read_bytes())
    content[25] = 0  # its kind: grey, not palette
    start = content.index(b"PLTE") - 4
    del content[start : start + 12 + 3 * 2**bits]
    head = content[12:29]
    content[29:33] = zlib.crc32(head).to_bytes(4, "big")
    path.write_bytes(content)


Write = Callable[[Path], object]

# Masks that would have come out empty or full: how one is written, what is said of it, and the advice that is followed.
UNCLEAR: dict[str, tuple[str, Write, dict[str, Any], str]] = {
    "a JPEG of 0 and 1": (
        "a.jpg",
        lambda path: save(path, SHAPE.astype(np.uint8)),
        {},
        "a JPEG whose brightest value is ",
    ),
    "a JPEG of 0 and 38": (
        "a.jpg",
        lambda path: save(path, SHAPE * np.uint8(38)),
        {},
        "a JPEG whose brightest value is",
    ),
    "a JPEG of greys": ("a.jpg", lambda path: save(path, noise(SIZE, SIZE, 1)), {}, "a JPEG of many grey levels"),
    "smoothed edges": (
        "a.png",
        lambda path: save(path, np.where(SHAPE, 255, np.arange(SIZE) * 10).astype(np.uint8)),
        {},
        ", … beside 0; is it an image?",
    ),
    "reals": ("a.tif", lambda path: save(path, SHAPE * np.float32(0.5)), {}, "holds the values 0.5 beside 0"),
    "labels below zero": ("a.tif", lambda path: save(path, np.where(SHAPE, 1, -1)), {}, "holds the values -1, 1;"),
    "labels in 2 bits": ("a.png", lambda path: grey_png(path, 2, np.where(SHAPE, 2, 1)), {}, "holds the values 1, 2;"),
    "a value that no mask holds": (
        "a.png",
        lambda path: save(path, BLACK_AND_WHITE),
        {"mask_values": [1]},
        "dataset.mask_values names 1, which no mask of set train holds; the values in 1 masks are 0, 255; "
        "dataset.mask_values=null takes",
    ),
    "a colour for a number": (
        "a.png",
        lambda path: in_palette(SHAPE, (0, 0, 0), (3, 3, 3)).save(path),
        {"mask_values": [3]},
        "the values in 1 masks are 0 (#000000), 1 (#030303); dataset.mask_values=null takes what is not 0",
    ),
    "255 in one bit": (
        "a.png",
        lambda path: save(path, SHAPE),
        {"mask_values": [255]},
        "which no mask of set train holds; the values in 1 masks are 0, 1",
    ),
}


@pytest.mark.parametrize(("name", "write", "given", "said"), UNCLEAR.values(), ids=UNCLEAR)
def test_a_mask_that_is_unclear_is_refused_with_advice_that_works(
    tmp_path: Path, name: str, write: Write, given: dict[str, Any], said: str
) -> None:
    make_folder(tmp_path, {"a.png": BRIGHT}, {})
    write(tmp_path / "masks" / name)
    line = line_of(tmp_path, **given)
    assert said in line
    advice = re.search(r"dataset\.(mask_\w+)=(\S+)", line)
    assert advice
    value = yaml.safe_load(advice[2])
    followed: dict[str, Any] = {advice[1]: float(value) if advice[1] == "mask_threshold" else value}
    block = imported(tmp_path, **followed)
    assert block.targets.any()
    assert not block.targets.all()


# Masks that are read right though they are odd, with the parameters that they need.
CLEAR: dict[str, tuple[str, Write, dict[str, Any]]] = {
    "PNG of 0 and 1 that is called JPEG": (
        "a.jpg",
        lambda path: Image.fromarray(SHAPE.astype(np.uint8)).save(path, format="PNG"),
        {},
    ),
    "4 bits": ("a.png", lambda path: grey_png(path, 4, np.where(SHAPE, 2, 1)), {"mask_values": [2]}),
    "2 bits": ("a.png", lambda path: grey_png(path, 2, SHAPE * 3), {}),
    "RGB of 16 bits": ("a.png", lambda path: save(path, np.dstack([SHAPE.astype(np.uint16)] * 3)), {}),
    "RGB of 16 bits, white": ("a.png", lambda path: save(path, np.dstack([SHAPE * np.uint16(65535)] * 3)), {}),
    "GIF": ("a.gif", lambda path: in_palette(SHAPE, (0, 0, 0), (255, 255, 255)).save(path), {}),
    "name that goes on": ("a_mask.png", lambda path: save(path, BLACK_AND_WHITE), {}),
    "name that goes on otherwise": ("a-Seg.png", lambda path: save(path, BLACK_AND_WHITE), {}),
    "ending of the image": ("a.png.tif", lambda path: save(path, BLACK_AND_WHITE), {}),
    "JPEG above a threshold": ("a.jpg", lambda path: save(path, SHAPE * np.uint8(38)), {"mask_threshold": 19.0}),
}


@pytest.mark.parametrize(("name", "write", "given"), CLEAR.values(), ids=CLEAR)
def test_odd_masks_are_read_right(tmp_path: Path, name: str, write: Write, given: dict[str, Any]) -> None:
    make_folder(tmp_path, {"a.png": BRIGHT}, {})
    write(tmp_path / "masks" / name)
    assert np.array_equal(imported(tmp_path, **given).targets[0, ..., 0], SHAPE)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_reals_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    odd = np.where(SHAPE, value, 0).astype(np.float32)
    make_folder(tmp_path, {"a.png": BRIGHT}, {"a.tif": odd})
    assert "masks/a.tif: values that are not finite" in line_of(tmp_path)
    make_folder(tmp_path, {"a.tif": odd}, {"a.tif": SHAPE * np.uint8(255)})
    (tmp_path / "images/a.png").unlink()
    assert "images/a.tif: values that are not finite" in line_of(tmp_path, value_range=[0, 1])


@pytest.mark.parametrize("colour", [0, 255])
def test_a_mask_in_the_alpha_channel_alone_is_refused(tmp_path: Path, colour: int) -> None:
    mask = np.dstack([np.full((SIZE, SIZE, 3), colour, np.uint8), BLACK_AND_WHITE])
    make_folder(tmp_path, {"a.png": BRIGHT}, {"a.png": mask})
    assert "its colours are the same everywhere and its alpha channel is not" in line_of(tmp_path)


# Masks that are wrong together


def test_zeros_and_ones_beside_black_and_white_have_to_be_explained(tmp_path: Path) -> None:
    make_folder(
        tmp_path, {"a.png": BRIGHT, "b.png": BRIGHT}, {"a.png": SHAPE.astype(np.uint8), "b.png": BLACK_AND_WHITE}
    )
    line = line_of(tmp_path)
    assert "masks/a.png: the mask is 1 in it, but white in masks/b.png; dataset.mask_values=[1] or" in line
    assert imported(tmp_path, mask_values=[1]).targets.any(axis=(1, 2, 3)).tolist() == [True, False]
    save(tmp_path / "masks/a.png", SHAPE)  # one bit, in which 1 is white
    assert imported(tmp_path).targets.any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize(("level", "what"), [(0, "foreground"), (255, "background")])
def test_a_set_of_empty_or_full_masks_is_refused_or_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], level: int, what: str
) -> None:
    mask = np.full((SIZE, SIZE), level, np.uint8)
    make_folder(tmp_path, {"a.png": BRIGHT, "b.png": BRIGHT}, {"a.png": mask, "b.png": mask})
    said = f"2 of 2 masks of set train are without {what}, as masks/a.png; the values in them are {level}"
    assert line_of(tmp_path) == f"{said}; dataset.strict=false takes them so"
    imported(tmp_path, strict=False)
    assert capsys.readouterr().err == f"warning: {said}\n"


def test_a_named_value_may_be_rare_in_the_test_set_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folder(tmp_path, {"a.png": COLOURS}, {"a.png": LABELS})
    assert "dataset.mask_values names 9, which no mask of set train" in line_of(tmp_path, mask_values=[2, 9])
    imported(tmp_path, "test", test_share=1.0, mask_values=[2, 9])
    assert "warning: dataset.mask_values names 9, which no mask of set test" in capsys.readouterr().err


def test_number_0_of_a_palette_is_said_to_be_white(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folder(tmp_path, {"a.png": BRIGHT}, {})
    in_palette(SHAPE, (255, 255, 255), (0, 0, 0)).save(tmp_path / "masks/a.png")
    imported(tmp_path, mask_values=[0])
    assert (
        "masks/a.png: number 0 of its palette, which dataset.mask_values names, is not black" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "options", [{"mask_values": [1]}, {"classes": ["one", "two"]}, {"classes": ["two"], "mask_values": [2]}]
)
def test_palettes_in_which_a_number_has_two_colours_are_refused_or_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any]
) -> None:
    black, red, green = (0, 0, 0), (255, 0, 0), (0, 255, 0)
    numbers = SHAPE * np.where(np.arange(SIZE) < SIZE // 2, 1, 2)
    make_folder(tmp_path, dict.fromkeys(("a.png", "b.png", "c.png"), BRIGHT), {"c.png": numbers.astype(np.uint8)})
    for name, colours in (("a.png", (black, red, green)), ("b.png", (black, red, green))):
        in_palette(numbers, *colours).save(tmp_path / "masks" / name)
    imported(tmp_path, **options)
    in_palette(numbers, (9, 9, 9), green, red).save(tmp_path / "masks/b.png")
    line = line_of(tmp_path, **options)
    assert line.startswith("masks/b.png: a palette of its own, in which ")
    assert line.endswith("with dataset.class_colors, go by the colours, dataset.strict=false by the numbers")
    capsys.readouterr()
    imported(tmp_path, strict=False, **options)
    assert capsys.readouterr().err.count("warning: masks/b.png: a palette of its own") == 1


def test_an_ignored_value_that_no_mask_holds_is_refused_or_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_folder(tmp_path, {"a.png": COLOURS}, {"a.png": LABELS})
    options: dict[str, Any] = {"classes": ["two", "three"], "mask_values": [2, 3]}
    imported(tmp_path, ignore_value=1, **options)
    said = "no mask of set train holds 33, which dataset.ignore_value names"
    assert line_of(tmp_path, ignore_value=33, **options).startswith(f"{said}; dataset.ignore_value=null does without")
    imported(tmp_path, ignore_value=33, strict=False, **options)
    unnamed = "1 of 1 masks of set train hold 1, for which no class stands and which are background, as masks/a.png"
    assert capsys.readouterr().err == f"warning: {said}\nwarning: {unnamed}; they are 41.41% of the pixels\n"


def test_the_share_of_ignored_pixels_is_counted(tmp_path: Path) -> None:
    make_folder(tmp_path, {"a.png": COLOURS}, {"a.png": LABELS})
    found = opened(tmp_path, classes=["two", "three"], mask_values=[2, 3], ignore_value=1)
    block, seen = found.draw_and_see(range(1))
    assert Tally.of(block, seen, found.classes).metrics()["ignored"] == pytest.approx((LABELS == 1).mean())


# Files


def test_images_of_all_formats_are_pairs_and_a_format_that_is_not_read_is_no_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_pairs(tmp_path, 3)
    for stem, name in (("a", "a.webp"), ("b", "b.heic")):
        path = tmp_path / f"images/{stem}.png"
        content = path.read_bytes()
        path.unlink()
        if name.endswith("webp"):
            Image.fromarray(COLOURS).save(tmp_path / "images" / name, lossless=True)
        else:
            (tmp_path / "images" / name).write_bytes(content)
    assert "images/b.heic: not read, allowed are .bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp" in line_of(tmp_path)
    assert len(imported(tmp_path, strict=False).images) == 2
    assert "1 files left out" in capsys.readouterr().err
    (tmp_path / "images/b.heic").rename(tmp_path / "images/notes.txt")
    (tmp_path / "masks/b.png").unlink()
    assert len(imported(tmp_path).images) == 2


def test_hidden_files_are_skipped_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_pairs(tmp_path, 2)
    (tmp_path / "masks/._a.png").write_bytes(b"resource fork")
    found = opened(tmp_path)
    assert dict(found.left_out.counts) == {"a hidden file": 1}
    assert "1 files skipped" in capsys.readouterr().err
    assert found.layout.count == 2


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    make_pairs(tmp_path, 2)
    (tmp_path / "images/a.png").unlink()
    (tmp_path / "images/a.png").symlink_to("nowhere.png")
    assert "images/a.png: a link that leads nowhere" in line_of(tmp_path, strict=False)


stems = st.text(st.characters(codec="utf-8", exclude_characters="/\0.", exclude_categories=["Cs", "Cc"]), min_size=1)


@given(st.lists(stems, min_size=1, max_size=6, unique_by=lambda name: unicodedata.normalize("NFC", name)))
def test_names_match_in_either_form_of_unicode(names: list[str]) -> None:
    images = [f"images/{unicodedata.normalize('NFD', name)}.png" for name in names]
    masks = [f"masks/{unicodedata.normalize('NFC', name)}.png" for name in names]
    assert match(images, masks) == (list(zip(images, masks, strict=True)), [], [])


@given(st.lists(st.sampled_from("abcd"), unique=True), st.data())
def test_masks_may_have_what_programs_put_behind_a_name(names: list[str], data: st.DataObject) -> None:
    endings = st.sampled_from([".png", "_mask.gif", "_label.png", "_gt.tif", "_seg.bmp", " masks.png", ".jpg.png"])
    masks = [name + data.draw(endings) for name in names]
    images = [f"{name}.jpg" for name in names]
    assert match(images, masks) == (list(zip(images, masks, strict=True)), [], [])


def test_a_name_that_ends_like_that_of_a_mask_is_its_own(tmp_path: Path) -> None:
    assert match(["a.png", "a_seg.png"], ["a.png", "a_seg.png"])[0] == [("a.png", "a.png"), ("a_seg.png", "a_seg.png")]


# Pages


def test_a_stack_is_a_pair_a_page_and_its_origin_names_the_page(tmp_path: Path) -> None:
    images = np.stack([noise(SIZE, SIZE, 1, seed) for seed in range(3)])
    masks = np.stack([np.roll(BLACK_AND_WHITE, seed, axis=0) for seed in range(3)])
    make_folder(tmp_path, {}, {})
    for place, stack in (("images", images), ("masks", masks)):
        (tmp_path / place).mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / place / "a.tif", stack, photometric="minisblack")
    found = opened(tmp_path)
    assert found.origins.tiles.tolist() == [[0, 0, 0, page] for page in range(3)]
    block, seen = found.draw_and_see(range(3))
    assert np.array_equal(block.images[..., 0], images)
    assert np.array_equal(block.targets[..., 0], masks // 255)
    assert list(seen) == ["masks/a.tif", "masks/a.tif, page 1", "masks/a.tif, page 2"]


def write_ome(path: Path, images: np.ndarray, planes: str) -> None:
    """A TIFF of some images with OME's metadata of a stack of three; ``planes`` says where they stand."""
    size = f'SizeX="{SIZE}" SizeY="{SIZE}" SizeZ="1" SizeC="1" SizeT="3"'
    metadata = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" {size}>{planes}</Pixels></Image></OME>'
    )
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, images, photometric="minisblack", description=metadata, metadata=None)


def test_pages_are_in_the_order_of_their_metadata_and_none_may_be_missing(tmp_path: Path) -> None:
    images = np.stack([noise(SIZE, SIZE, 1, seed) for seed in range(3)])
    planes = [f'<TiffData IFD="{page}" FirstT="{2 - page}" PlaneCount="1"/>' for page in range(3)]
    write_ome(tmp_path / "images/a.tif", images, "".join(planes))
    (tmp_path / "masks").mkdir()
    tifffile.imwrite(tmp_path / "masks/a.tif", np.stack([BLACK_AND_WHITE] * 3), photometric="minisblack")
    assert np.array_equal(drawn(tmp_path).images[..., 0], images[::-1])
    write_ome(tmp_path / "images/a.tif", images, "".join(planes[:2]))
    assert "images/a.tif: planes that its metadata name are missing, allowed are whole stacks" in line_of(tmp_path)


def test_a_stack_may_be_written_page_by_page(tmp_path: Path) -> None:
    stacks = {"images": np.stack([noise(SIZE, SIZE, 1, seed) for seed in range(3)]), "masks": np.stack([SHAPE] * 3) * 1}
    for folder, pages in stacks.items():
        (tmp_path / folder).mkdir()
        with tifffile.TiffWriter(tmp_path / folder / "a.tif") as file:
            for page in pages.astype(np.uint8):
                file.write(page, photometric="minisblack")
    np.testing.assert_array_equal(imported(tmp_path).images[..., 0], stacks["images"])
    with tifffile.TiffWriter(tmp_path / "images/a.tif", append=True) as file:
        file.write(np.zeros((9, 9), np.uint8), photometric="minisblack")
    assert "images/a.tif: pages of (16, 16) and (9, 9), allowed are pages of one shape" in line_of(tmp_path)


def test_planes_in_files_of_their_own_are_a_pair_each(tmp_path: Path) -> None:
    images = np.stack([noise(SIZE, SIZE, 1, seed) for seed in range(3)])
    planes = "".join(
        f'<TiffData IFD="0" FirstT="{plane}" PlaneCount="1"><UUID FileName="{plane}.tif">urn:uuid:{plane}</UUID>'
        "</TiffData>"
        for plane in range(3)
    )
    make_folder(tmp_path, {}, {f"{plane}.png": BLACK_AND_WHITE for plane in range(3)})
    for plane, image in enumerate(images):
        write_ome(tmp_path / f"images/{plane}.tif", image, planes)
    assert np.array_equal(drawn(tmp_path).images[..., 0], images)


# Values of images


@pytest.mark.parametrize(("most", "white"), [(200, 255), (800, 1023), (3661, 4095), (16000, 16383), (60000, 65535)])
def test_what_is_white_in_16_bits_is_taken_from_all_images_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], most: int, white: int
) -> None:
    image = np.random.default_rng(0).integers(0, most + 1, (SIZE, SIZE), np.uint16)
    image[0, 0] = most
    make_folder(tmp_path, {"a.tif": image // 2, "b.tif": image}, {"a.png": SHAPE, "b.png": SHAPE})
    for item, share, place in (("train", 0.0, 1), ("test", 1.0, 1)):
        block = drawn(tmp_path, item, test_share=share, dtype="float32")
        assert np.allclose(block.images[place, ..., 0], image / white, atol=1e-6)
    said = capsys.readouterr().err
    assert (f"{white} is taken as white; dataset.value_range=[0,{white}]" in said) == (white < 65535)
    whole = drawn(tmp_path, value_range="dtype", dtype="float32").images[1, ..., 0]
    assert np.allclose(whole, image / 65535, atol=1e-6)


@pytest.mark.parametrize(("kind", "white"), [("unspecified", 16383), ("unassalpha", 1023)])
def test_a_fourth_band_counts_for_what_is_white_and_alpha_does_not(tmp_path: Path, kind: str, white: int) -> None:
    image = np.random.default_rng(0).integers(0, 1001, (SIZE, SIZE, 4), np.uint16)
    image[..., 3] *= 9
    make_folder(tmp_path, {}, {"a.png": SHAPE})
    (tmp_path / "images").mkdir(exist_ok=True)
    tifffile.imwrite(tmp_path / "images/a.tif", image, photometric="rgb", extrasamples=[kind])
    found = drawn(tmp_path, dtype="float32").images[0]
    assert np.allclose(found, np.minimum(1, image / white), atol=1e-6)


@pytest.mark.parametrize("factor", [1, 256])
def test_a_palette_of_a_tiff_may_be_of_8_bits(tmp_path: Path, factor: int) -> None:
    colours = np.zeros((3, 256), np.uint16)
    colours[:, :2] = np.array([[40, 220], [30, 210], [20, 200]]) * factor
    make_folder(tmp_path, {}, {"a.png": SHAPE})
    (tmp_path / "images").mkdir(exist_ok=True)
    tifffile.imwrite(tmp_path / "images/a.tif", SHAPE.astype(np.uint8), photometric="palette", colormap=colours)
    assert np.array_equal(drawn(tmp_path).images[0], colours.T[SHAPE.astype(int)] // factor)


def test_a_given_range_is_taken_of_any_values_and_clips(tmp_path: Path) -> None:
    image = np.linspace(-1, 2, SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE)
    make_folder(tmp_path, {"a.tif": image}, {"a.png": SHAPE})
    found = drawn(tmp_path, value_range=[0.0, 1.0], dtype="float32").images[0, ..., 0]
    assert np.allclose(found, np.clip(image, 0, 1), atol=1e-6)
    found = drawn(tmp_path, value_range=[-1, 2]).images[0, ..., 0]
    assert (found.min(), found.max()) == (0, 255)


def test_white_is_0_in_some_tiffs(tmp_path: Path) -> None:
    for bits in (8, 16):
        image = np.random.default_rng(0).integers(0, 2**bits, (SIZE, SIZE), f"uint{bits}")
        image[0, :2] = 0, 2**bits - 1
        make_folder(tmp_path, {}, {"a.png": SHAPE})
        (tmp_path / "images").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / "images/a.tif", image, photometric="miniswhite")
        expected = 1 - image / (2**bits - 1)
        assert np.allclose(drawn(tmp_path, dtype="float32").images[0, ..., 0], expected, atol=1e-6)


# The tally


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 11))
def test_a_tally_is_the_same_in_parts_and_restored(kinds: list[int], cut: int) -> None:
    masks = np.array([[[[0], [0]], [[0], [0]]], [[[0], [1]], [[0], [0]]], [[[1], [1]], [[1], [1]]]], np.uint8)
    block = Block(np.zeros((len(kinds), 2, 2, 1), np.uint8), masks[np.minimum(kinds, 2)])
    seen = {str(place): Seen((0, 1.5), False, kind, 4, ("#000000",), "white") for place, kind in enumerate(kinds)}
    whole, parts = Tally.of(block, seen), Tally()
    for part in (slice(None, cut), slice(cut, None)):
        files = dict([*seen.items()][part])
        parts.add(Tally.restored(Tally.of(Block(block.images[part], block.targets[part]), files).plain()))
    assert parts == whole
    assert (whole.empty, whole.full) == (kinds.count(0), sum(kind > 1 for kind in kinds))


def red(mask: np.ndarray) -> np.ndarray:
    return np.stack([mask * np.uint8(255), np.zeros_like(mask, np.uint8), np.zeros_like(mask, np.uint8)], axis=2)


@pytest.mark.parametrize("ending", ["gif", "png", "tif", "bmp"])
def test_a_palette_whose_number_0_is_not_black_while_another_is_is_refused_with_advice_that_works(
    tmp_path: Path, ending: str
) -> None:
    make_folder(tmp_path, {"a.png": BRIGHT}, {})
    mask = tmp_path / f"masks/a.{ending}"
    in_palette(~SHAPE, (255, 0, 0), (0, 0, 0)).save(mask)  # as Pillow orders the colours of a red mask
    line = line_of(tmp_path)
    assert "number 0 of its palette is #ff0000 and number 1 black: what is background?" in line
    np.testing.assert_array_equal(imported(tmp_path, mask_values=[0]).targets[0, :, :, 0], SHAPE)
    np.testing.assert_array_equal(imported(tmp_path, classes="all").targets[0, :, :, 0], SHAPE)


HIDDEN_WHITE: dict[str, Write] = {
    "in a palette": lambda path: in_palette(SHAPE, (255, 255, 255), (0, 0, 0)).save(path, transparency=0),
    "in one bit": lambda path: Image.fromarray(~SHAPE).save(path, transparency=1),
    "in alpha alone": lambda path: in_palette(SHAPE, *[(0, 0, 0)] * 2).save(path, transparency=bytes([0, 255])),
}


@pytest.mark.parametrize("write", HIDDEN_WHITE.values(), ids=HIDDEN_WHITE)
def test_what_is_transparent_is_not_taken_for_white(tmp_path: Path, write: Write) -> None:
    make_folder(tmp_path, {"a.png": BRIGHT}, {})
    write(tmp_path / "masks/a.png")
    reasons = "transparent pixels that are not black|a transparent grey|its colours are the same"
    assert re.search(rf"masks/a\.png: ({reasons})", line_of(tmp_path))


def of_two_scales(folder: Path) -> Path:
    """Black and white masks, one of which a program has made small: 0 and 1 in one bit, 0 and 255 in eight."""
    make_folder(folder, dict.fromkeys(("a.png", "b.png"), BRIGHT), {"b.png": BLACK_AND_WHITE})
    save(folder / "masks/a.png", SHAPE)
    return folder


@pytest.mark.parametrize(
    "options",
    [{"mask_threshold": 127}, {"mask_values": [255]}, {"classes": ["one"], "mask_values": [255]}, {"classes": "all"}],
)
def test_numbers_that_mean_other_greys_in_files_of_fewer_bits_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any]
) -> None:
    of_two_scales(tmp_path)
    line = line_of(tmp_path, **options)
    assert "masks/a.png: its values are of 1 bit, those of masks/b.png of 8 bits" in line
    imported(tmp_path, strict=False, **options)
    assert "warning: masks/a.png: its values are of 1 bit" in capsys.readouterr().err


@pytest.mark.parametrize("options", [{}, {"mask_values": [1, 255]}, {"mask_threshold": 0}])
def test_what_names_the_white_of_both_takes_it(tmp_path: Path, options: dict[str, Any]) -> None:
    for mask in imported(of_two_scales(tmp_path), **options).targets[..., 0]:
        np.testing.assert_array_equal(mask, SHAPE)


def test_classes_in_files_of_two_and_of_one_bit_are_refused_also_where_they_share_a_number(tmp_path: Path) -> None:
    make_folder(tmp_path, dict.fromkeys(("a.png", "b.png"), BRIGHT), {})
    grey_png(tmp_path / "masks/a.png", 2, np.where(SHAPE, 3, np.arange(SIZE) % 3))
    save(tmp_path / "masks/b.png", SHAPE)
    assert "its values are of 2 bits, those of masks/b.png of 1 bit" in line_of(tmp_path, classes="all")


def test_an_empty_mask_of_one_bit_beside_others_is_one_without_foreground(tmp_path: Path) -> None:
    make_folder(tmp_path, dict.fromkeys(("a.png", "b.png"), BRIGHT), {"b.png": BLACK_AND_WHITE})
    save(tmp_path / "masks/a.png", SHAPE & False)
    masks = imported(tmp_path, mask_values=[255]).targets
    assert masks.any(axis=(1, 2, 3)).tolist() == [False, True]


def test_a_threshold_is_of_the_greys_of_a_palette(tmp_path: Path) -> None:
    make_folder(tmp_path, {"a.png": BRIGHT}, {})
    in_palette(np.where(SHAPE, 0, 1), (200, 200, 200), (0, 0, 0)).save(tmp_path / "masks/a.png")
    np.testing.assert_array_equal(imported(tmp_path, mask_threshold=127).targets[0, :, :, 0], SHAPE)


@pytest.mark.parametrize("third", [100, 128])
def test_a_jpeg_of_three_levels_is_refused(tmp_path: Path, third: int) -> None:
    mask = BLACK_AND_WHITE.copy()
    mask[-8:, -8:] = third
    make_folder(tmp_path, {"a.png": BRIGHT}, {})
    Image.fromarray(mask).save(tmp_path / "masks/a.jpg", quality=95)
    assert "a JPEG of many grey levels, allowed are black and white" in line_of(tmp_path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_masks_of_numbered_objects_are_refused_with_advice_that_takes_all_of_them(tmp_path: Path, dtype: Any) -> None:
    numbers = np.cumsum(SHAPE).reshape(SIZE, SIZE) * SHAPE
    assert numbers.max() > 32
    make_folder(tmp_path, {"a.png": BRIGHT}, {"a.png": numbers.astype(dtype)})
    assert "are they the numbers of objects? dataset.mask_threshold=0 takes all of them" in line_of(tmp_path)
    np.testing.assert_array_equal(imported(tmp_path, mask_threshold=0).targets[0, :, :, 0], SHAPE)


def test_a_tiff_that_ends_before_its_pixels_do_is_refused(tmp_path: Path) -> None:
    make_folder(tmp_path, {}, {"a.png": BLACK_AND_WHITE})
    path = tmp_path / "images/a.tif"
    tifffile.imwrite(path, noise(64, 64)[:SIZE, :SIZE], photometric="rgb", compression="jpeg")
    path.write_bytes(path.read_bytes()[:-40])
    assert "images/a.tif: broken image" in line_of(tmp_path)


def test_a_picture_is_turned_by_exif_and_not_by_xmp(tmp_path: Path) -> None:
    make_folder(tmp_path, {}, {"a.png": BLACK_AND_WHITE})
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    Image.fromarray(BRIGHT).save(tmp_path / "images/a.jpg", quality=95, xmp=packet)
    with Image.open(tmp_path / "images/a.jpg") as opened_by_pillow:
        assert opened_by_pillow.getexif().get(274) == 6  # which goes by XMP as well
    image = imported(tmp_path).images[0, :, :, 0]
    assert image[SHAPE].min() > image[~SHAPE].max()


def test_files_in_hidden_folders_are_skipped_unless_the_pattern_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("s/a.png", "s/.trash/b.png")
    make_folder(tmp_path, dict.fromkeys(names, BRIGHT), dict.fromkeys(names, BLACK_AND_WHITE))
    assert len(imported(tmp_path, images="images/**/*", masks="masks/**/*").images) == 1
    assert "files skipped: " in capsys.readouterr().err
    assert len(imported(tmp_path, images="images/s/.trash/*", masks="masks/s/.trash/*").images) == 1


def test_a_linked_folder_that_a_pattern_would_pass_over_is_refused_with_a_pattern_that_follows(tmp_path: Path) -> None:
    make_folder(tmp_path, {"s/a.png": BRIGHT}, {"s/a.png": BLACK_AND_WHITE})
    for kind in ("images", "masks"):
        save(tmp_path / "store" / kind / "b.png", BRIGHT if kind == "images" else BLACK_AND_WHITE)
        (tmp_path / kind / "t").symlink_to(tmp_path / "store" / kind)
    line = line_of(tmp_path, images="im*/**/*", masks="ma*/**/*")
    assert "images/t: a link to a folder, which ** does not follow" in line
    line = line_of(tmp_path, images="images/**/*", masks="masks/**/*")
    assert re.search(r"images/t: a link to a folder, which \*\* does not follow; .* 'images/\*/\*'", line)
    assert len(imported(tmp_path, images="images/*/*", masks="masks/*/*").images) == 2


def test_each_page_of_a_stack_has_its_own_palette(tmp_path: Path) -> None:
    make_folder(tmp_path, {}, {})
    black_first, white_first = ((0, 0, 0), (255, 255, 255)), ((255, 255, 255), (0, 0, 0))
    pages = [in_palette(SHAPE, *black_first), in_palette(~SHAPE, *white_first)]
    pages[0].save(tmp_path / "masks/a.tif", save_all=True, append_images=pages[1:])
    tifffile.imwrite(tmp_path / "images/a.tif", np.stack([BRIGHT] * 2), photometric="rgb")
    for mask in imported(tmp_path).targets[..., 0]:
        np.testing.assert_array_equal(mask, SHAPE)


def test_stacks_in_another_order_than_their_masks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    shape = (2, 3, SIZE, SIZE)
    tifffile.imwrite(
        tmp_path / "images/a.ome.tif",
        np.arange(np.prod(shape), dtype=np.uint8).reshape(shape),
        metadata={"axes": "TZYX"},
    )
    mask = np.broadcast_to(BLACK_AND_WHITE, shape).swapaxes(0, 1)
    tifffile.imwrite(tmp_path / "masks/a.ome.tif", mask, metadata={"axes": "ZTYX"})
    assert "masks/a.ome.tif: pages Z of 3, T of 2, those of its image images/a.ome.tif are T of 2, Z of 3" in (
        line_of(tmp_path)
    )
    tifffile.imwrite(tmp_path / "masks/a.ome.tif", mask.swapaxes(0, 1), metadata={"axes": "TZYX"})
    assert len(imported(tmp_path).images) == 6


def test_masks_in_another_folder_than_their_images_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = {"a/1.png": BRIGHT, "b/2.png": BRIGHT}
    patterns = {"images": "images/**/*", "masks": "masks/**/*"}
    make_folder(tmp_path / "right", images, dict.fromkeys(images, BLACK_AND_WHITE))
    imported(tmp_path / "right", **patterns)
    assert "another folder" not in capsys.readouterr().err
    make_folder(tmp_path / "crossed", images, dict.fromkeys(("b/1.png", "a/2.png"), BLACK_AND_WHITE))
    imported(tmp_path / "crossed", **patterns)
    assert "warning: 2 masks lie in another folder than their images, as masks/b/1.png" in capsys.readouterr().err


@pytest.mark.parametrize("first", [(255, 255, 255), (200, 60, 60)])
def test_a_palette_without_black_has_no_background(tmp_path: Path, first: tuple[int, int, int]) -> None:
    make_folder(tmp_path, {"a.png": BRIGHT}, {})
    in_palette(~SHAPE, first, (255, 255, 0)).save(tmp_path / "masks/a.png")
    assert f"number 0 of its palette is #{bytes(first).hex()}: what is background?" in line_of(tmp_path)
    np.testing.assert_array_equal(imported(tmp_path, mask_values=[0]).targets[0, :, :, 0], SHAPE)


def test_a_threshold_says_nothing_of_a_palette_s_colours(tmp_path: Path) -> None:
    make_folder(tmp_path, {"a.png": BRIGHT}, {})
    in_palette(np.where(SHAPE, 1, 0), (0, 0, 0), (128, 0, 0)).save(tmp_path / "masks/a.png")
    assert "a palette of colours, whose numbers say nothing of brightness" in line_of(tmp_path, mask_threshold=127)
    for options in ({"mask_threshold": 0}, {"mask_values": [1]}):  # which the line advises
        np.testing.assert_array_equal(imported(tmp_path, **options).targets[0, :, :, 0], SHAPE)


def test_masks_of_which_white_is_0_go_by_what_is_black_if_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_folder(tmp_path, {"a.png": BRIGHT}, {})
    tifffile.imwrite(tmp_path / "masks/a.tif", BLACK_AND_WHITE, photometric="miniswhite")  # as Fiji writes
    np.testing.assert_array_equal(imported(tmp_path).targets[0, :, :, 0], ~SHAPE)
    said = capsys.readouterr().err
    assert (
        f"{(~SHAPE).mean():.0%} of the pixels of set train are mask; dataset.mask_values=[0], or [1] by a pal" in said
    )
    assert (
        "1 of 1 masks of set train say that 0 is white in them, as masks/a.tif, and are taken as viewers show" in said
    )
    np.testing.assert_array_equal(imported(tmp_path, mask_values=[0]).targets[0, :, :, 0], SHAPE)
    assert "white is 0 in it, allowed for dataset.mask_values is null" in line_of(tmp_path, mask_values=[255])


def test_a_threshold_that_leaves_masks_of_0_and_1_empty_is_refused(tmp_path: Path) -> None:
    masks = {"a.png": SHAPE.astype(np.uint8), "b.png": BLACK_AND_WHITE}
    make_folder(tmp_path, dict.fromkeys(masks, BRIGHT), masks)
    line = line_of(tmp_path, mask_threshold=127)
    assert "masks/a.png: its values are of 0 and 1, those of masks/b.png of 8 bits" in line
    assert imported(tmp_path, mask_threshold=0).targets.any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("level", [40, 200, 225])
def test_a_third_level_in_a_jpeg_is_neither_black_nor_white(tmp_path: Path, level: int) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[8:40, 8:40], mask[40:56, 40:56] = 255, level
    save_jpeg = Image.fromarray(mask).save
    make_folder(tmp_path, {"a.png": noise(64, 64)}, {})
    save_jpeg(tmp_path / "masks/a.jpg", quality=95)
    assert "masks/a.jpg: a JPEG of many grey levels" in line_of(tmp_path, image_size=64)


@given(st.integers(5, 95), st.integers(0, 2**32 - 1))
def test_a_jpeg_of_any_quality_is_black_and_white(quality: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    rows, columns = np.ogrid[:64, :64]
    row, column = draw.integers(16, 48, 2)
    high, wide = draw.uniform(4, 16, 2)
    mask = ((rows - row) / high) ** 2 + ((columns - column) / wide) ** 2 <= 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jpg"
        Image.fromarray(mask * np.uint8(255)).save(path, quality=quality)
        assert (read_mask(path)[0][..., 0] != mask).mean() < 0.02


def test_numbers_of_objects_have_advice_that_takes_all(tmp_path: Path) -> None:
    make_folder(tmp_path, {"a.png": BRIGHT}, {"a.png": np.where(SHAPE, LABELS.astype(np.uint16) + 1, 0)})
    assert "dataset.mask_threshold=0 takes all of them" in line_of(tmp_path)
    np.testing.assert_array_equal(imported(tmp_path, mask_threshold=0).targets[0, :, :, 0], SHAPE)


def test_classes_of_which_none_is_background_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folder(tmp_path, {"a.png": BRIGHT}, {"a.png": SHAPE.astype(np.uint8) + 1})
    found = opened(tmp_path, "train", classes="all")
    block, seen = found.draw_and_see(range(1))
    require_sense(found, Tally.of(block, seen, found.classes), "train", dataset_options("folder", classes="all"))
    said = "no pixel of set train is background, as 0 or black in a file is; the classes in them are 1, 2"
    assert said in capsys.readouterr().err


# Pages of a TIFF


def test_a_flagged_preview_is_no_page_even_if_it_comes_first(tmp_path: Path) -> None:
    make_folder(tmp_path, {}, {})
    for name, pixels in (("images", BRIGHT), ("masks", BLACK_AND_WHITE)):
        (tmp_path / name).mkdir(exist_ok=True)
        with tifffile.TiffWriter(tmp_path / name / "a.tif") as file:
            file.write(np.ascontiguousarray(pixels[::2, ::2]), subfiletype=1, metadata=None)
            file.write(pixels, metadata=None)
    block = imported(tmp_path)
    np.testing.assert_array_equal(block.images, BRIGHT[None])
    np.testing.assert_array_equal(block.targets[0, :, :, 0], SHAPE)


def test_each_page_is_turned_by_its_own_orientation(tmp_path: Path) -> None:
    make_folder(tmp_path, {}, {})
    grey = BRIGHT[..., 0]
    for name, pixels in (("images", grey), ("masks", BLACK_AND_WHITE)):
        (tmp_path / name).mkdir(exist_ok=True)
        with tifffile.TiffWriter(tmp_path / name / "a.tif") as file:
            file.write(pixels, metadata=None)
            turned = np.ascontiguousarray(pixels[::-1, ::-1])
            file.write(
                turned if name == "images" else pixels,
                metadata=None,
                extratags=[(274, "H", 1, 3, True)] * (name == "images"),
            )
    block = imported(tmp_path)
    np.testing.assert_array_equal(block.images[..., 0], [grey, grey])
    np.testing.assert_array_equal(block.targets[..., 0], [SHAPE, SHAPE])


def test_planes_behind_one_page_are_refused(tmp_path: Path) -> None:
    make_folder(tmp_path, {}, {"a.png": SHAPE})
    (tmp_path / "images").mkdir(exist_ok=True)
    stack = np.stack([BRIGHT[..., 0]] * 3)
    tifffile.imwrite(tmp_path / "images/a.tif", stack, photometric="minisblack", truncate=True)
    assert "images/a.tif: 3 planes in 1 pages, allowed is a page each" in line_of(tmp_path)


def test_colours_of_ycbcr_are_read_from_jpeg_alone(tmp_path: Path) -> None:
    make_folder(tmp_path, {}, {"a.png": SHAPE})
    (tmp_path / "images").mkdir(exist_ok=True)
    Image.fromarray(BRIGHT).convert("YCbCr").save(tmp_path / "images/a.tif", compression="tiff_lzw")
    assert "images/a.tif: colours of kind YCBCR without JPEG" in line_of(tmp_path)


# Ranges


@pytest.mark.parametrize("image", [BRIGHT[..., 0] * np.uint16(12), BRIGHT[..., 0] * np.uint16(4) + np.uint16(32768)])
def test_a_range_that_shows_next_to_nothing_is_said_with_one_that_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], image: np.ndarray
) -> None:
    spoilt = image.copy()
    spoilt[0, :2] = 65535  # what is no data in scenes from above, or a hot pixel
    make_folder(tmp_path, {"a.png": spoilt}, {"a.png": SHAPE})
    imported(tmp_path)
    (advised,) = re.findall(r"next to one grey .* dataset\.value_range=(\[\d+,\d+\]) shows", capsys.readouterr().err)
    found = imported(tmp_path, value_range=yaml.safe_load(advised)).images[0, :, :, 0].astype(int)
    assert found[SHAPE].min() - np.median(found[~SHAPE]) > 200


def test_a_range_that_a_file_cannot_reach_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deep = BRIGHT[..., 0] * np.uint16(16)
    make_folder(tmp_path, {"a.png": BRIGHT[..., 0], "b.png": deep}, {"a.png": SHAPE, "b.png": SHAPE})
    images = imported(tmp_path).images[..., 0].astype(int)
    assert abs(images[0] - images[1]).max() <= 1
    said = capsys.readouterr().err
    assert "4095 is taken as white; dataset.value_range=dtype" in said  # the range would not do for the other file
    line = line_of(tmp_path, value_range=[0, 4095])
    assert "images/a.png: a file of up to 255, dataset.value_range=[0.0, 4095.0] is of files of more bits" in line


def test_signed_values_have_advice_that_shows_them(tmp_path: Path) -> None:
    make_folder(tmp_path, {}, {"a.png": SHAPE})
    (tmp_path / "images").mkdir(exist_ok=True)
    tifffile.imwrite(tmp_path / "images/a.tif", BRIGHT[..., 0].astype(np.int16) * 4 - 200)
    (advised,) = re.findall(r"dataset\.value_range=(\S+) or", line_of(tmp_path))
    found = imported(tmp_path, value_range=yaml.safe_load(advised)).images[0, :, :, 0].astype(int)
    assert found[SHAPE].min() - found[~SHAPE].max() > 150


# What is taken as it is and said in a line: how the files are made, with which parameters, and the line.


def six(folder: Path, images: np.ndarray = BRIGHT, masks: np.ndarray = BLACK_AND_WHITE) -> Path:
    """A folder of six equal pairs."""
    names = [f"{number}.png" for number in range(6)]
    return make_folder(folder, dict.fromkeys(names, images), dict.fromkeys(names, masks))


def with_strange_labels(folder: Path) -> None:
    six(folder, masks=np.where(SHAPE, 7, np.where(np.arange(SIZE) < 3, 255, 0)).astype(np.uint8))


def with_other_reds(folder: Path) -> None:
    six(folder, masks=red(SHAPE))
    save(folder / "masks/0.png", red(SHAPE) // 2)


def with_first_number_red(folder: Path) -> None:
    six(folder)
    for number in range(6):
        in_palette(~SHAPE, (255, 0, 0), (0, 0, 0)).save(folder / f"masks/{number}.png")


def with_white_at_0(folder: Path) -> None:
    six(folder)
    (folder / "masks/0.png").unlink()
    tifffile.imwrite(folder / "masks/0.tif", SHAPE, photometric="miniswhite")


def with_two_cameras(folder: Path) -> None:
    six(folder)
    for number in range(6):
        (folder / f"images/{number}.png").unlink()
        save(folder / f"images/{number}.tif", BRIGHT[..., 0].astype(np.uint16) * (257 if number % 2 else 16))


def with_lines(folder: Path) -> None:
    images, masks = np.full((64, 64, 3), 40, np.uint8), np.zeros((64, 64), np.uint8)
    images[21], masks[21] = 220, 255
    six(folder, images, masks)


def with_ones(folder: Path) -> None:
    six(folder)
    for number in range(3):
        save(folder / f"masks/{number}.png", SHAPE.astype(np.uint8))


def with_labels_beside(folder: Path) -> None:
    """Files of another format beside each image, as LabelMe's."""
    six(folder)
    for number in range(6):
        (folder / f"images/{number}.json").write_text("{}")


def with_thumbnails(folder: Path) -> None:
    six(folder)
    save(folder / "images/@eaDir/0.png/small.png", BRIGHT)


def with_folders(folder: Path) -> None:
    six(folder)
    save(folder / "images/more/9.png", BRIGHT)


def turned(folder: Path) -> None:
    six(folder)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(BRIGHT[::-1, ::-1].copy()).save(folder / "images/0.png", exif=exif)


SAID: dict[str, tuple[Callable[[Path], object], dict[str, Any], str]] = {
    "labels that nobody named": (
        with_strange_labels,
        {"classes": ["road"], "mask_values": [7]},
        "6 of 6 masks of set train hold 255, for which no class stands and which are background, as masks/0.png; they "
        f"are {(~SHAPE[:, :3]).sum() / SIZE**2:.2%} of the pixels",
    ),
    "nearly the colour of a class": (
        with_other_reds,
        {"classes": ["red"], "class_colors": ["#ff0000"]},
        "1 of 6 masks of set train hold #7f0000, for which no class stands",
    ),
    "a bright number 0": (
        with_first_number_red,
        {"mask_values": [1]},
        "masks/0.png: number 0 of its palette, which is background, is not black there but #ff0000",
    ),
    "a bright number 0 beside a class": (
        with_first_number_red,
        {"classes": ["cat"], "mask_values": [1]},
        "masks/0.png: number 0 of its palette, which is background, is not black there but #ff0000",
    ),
    "a mask in which 0 is white": (
        with_white_at_0,
        {},
        "1 of 6 masks of set train say that 0 is white in them, as masks/0.tif",
    ),
    "mostly mask above a threshold": (
        lambda folder: six(folder, masks=255 - BLACK_AND_WHITE),
        {"mask_threshold": 127},
        "of the pixels of set train are mask; is the rest meant?",
    ),
    "two scales of 16 bits": (
        with_two_cameras,
        {},
        "3 of 6 images of 16 bits hold no value above 3520, where 65535 is taken as white since others hold as much",
    ),
    "a line that scaling loses": (
        with_lines,
        {"fit": "resize", "tile": False},
        "6 masks of set train lose all of their foreground when they are scaled, as masks/0.png",
    ),
    "a folder in the folder": (
        with_folders,
        {},
        "1 folders with images that images/* does not reach, as ",
    ),
    "an image that is turned": (
        turned,
        {},
        "1 images are turned as their orientation by EXIF or TIFF says, as images/0.png",
    ),
    "one of the values for white": (
        with_ones,
        {"mask_values": [255]},
        "3 of 6 masks of set train hold 1 and nothing that dataset.mask_values takes, as masks/0.png",
    ),
    "a threshold above what a mask holds": (
        lambda folder: save(six(folder) / "masks/0.png", SHAPE * np.uint8(100)),
        {"mask_threshold": 127},
        "1 of 6 masks of set train hold 100 and nothing that dataset.mask_threshold takes, as masks/0.png",
    ),
    "most above what is white": (
        lambda folder: six(folder, 255 - BRIGHT),
        {"value_range": [0, 200]},
        "79% of the values of set train are 200 or above, which is white by dataset.value_range=[0,200]",
    ),
    "files of labels beside the images": (
        with_labels_beside,
        {},
        ".json: not read, and beside a pair of its name, …",
    ),
    "thumbnails that a disk makes": (
        with_thumbnails,
        {"images": "images/**/*"},
        "images/@eaDir/0.png/small.png: a hidden file",
    ),
    "images of 0 and 1": (
        lambda folder: six(folder, BRIGHT // 200),
        {},
        "6 of 6 images of set train are next to one grey",
    ),
}


@pytest.mark.parametrize(("make", "options", "line"), SAID.values(), ids=SAID)
def test_what_may_not_be_meant_is_said(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], object],
    options: dict[str, Any],
    line: str,
) -> None:
    make(tmp_path)
    imported(tmp_path, **options)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("warning: ")
    assert line in said


@pytest.mark.parametrize("red_of", [(255, 0, 0), (64, 0, 0)])
def test_names_do_not_go_by_a_palette_whose_number_0_is_the_object(
    tmp_path: Path, red_of: tuple[int, int, int]
) -> None:
    make_folder(tmp_path, {"a.png": BRIGHT}, {})
    in_palette(~SHAPE, red_of, (0, 0, 0)).save(tmp_path / "masks/a.png")
    for options in ({"classes": ["cat"]}, {}):
        line = line_of(tmp_path, **options)
        assert f"number 0 of its palette is #{bytes(red_of).hex()} and number 1 black: what is background?" in line
    color = f"#{bytes(red_of).hex()}"
    found = imported(tmp_path, classes=["cat"], class_colors=[color]).targets[0, :, :, 0]  # as the line advises
    np.testing.assert_array_equal(found, SHAPE)


def test_a_palette_need_not_use_number_0(tmp_path: Path) -> None:
    make_folder(tmp_path, dict.fromkeys(("a.png", "b.png"), BRIGHT), {})
    for name, least in (("a.png", 0), ("b.png", 1)):
        in_palette(np.where(SHAPE, 2, least), (0, 0, 0), (9, 0, 0), (255, 0, 0)).save(tmp_path / "masks" / name)
    masks = imported(tmp_path, classes=["cat"], mask_values=[2]).targets[..., 0]
    np.testing.assert_array_equal(masks, np.stack([SHAPE, SHAPE]))


def test_a_palette_of_one_colour_shows_no_mask(tmp_path: Path) -> None:
    make_folder(tmp_path, {"a.png": BRIGHT}, {})
    in_palette(SHAPE, (0, 0, 0), (0, 0, 0)).save(tmp_path / "masks/a.png")
    assert "its palette shows the numbers 0, 1 in one colour; dataset.mask_values=[1]" in line_of(tmp_path)
    np.testing.assert_array_equal(imported(tmp_path, mask_values=[1]).targets[0, :, :, 0], SHAPE)


def test_a_threshold_does_not_go_for_grey_levels_on_two_scales(tmp_path: Path) -> None:
    smooth = np.where(SHAPE, 255, np.arange(SIZE) * 8).astype(np.uint8)
    make_folder(tmp_path, dict.fromkeys(("a.png", "b.png"), BRIGHT), {"a.png": smooth})
    save(tmp_path / "masks/b.tif", smooth.astype(np.uint16) * 257)
    line = line_of(tmp_path, mask_threshold=127)
    assert "masks/a.png: its values are of 8 bits, those of masks/b.tif of 16 bits; one threshold is two greys" in line


def test_probabilities_are_no_numbers_of_objects(tmp_path: Path) -> None:
    soft = np.where(SHAPE, 0.9, np.arange(SIZE) / 40).astype(np.float32)
    make_folder(tmp_path, {"a.png": BRIGHT}, {"a.tif": soft})
    line = line_of(tmp_path)
    assert "is it an image? dataset.mask_threshold=0.45 takes what is brighter" in line
    np.testing.assert_array_equal(imported(tmp_path, mask_threshold=0.45).targets[0, :, :, 0], SHAPE)


def test_smoothed_edges_of_a_few_levels_are_advised_a_threshold(tmp_path: Path) -> None:
    levels = np.where(SHAPE, 255, np.where(np.roll(SHAPE, 1), 127, 0)).astype(np.uint8)
    make_folder(tmp_path, {"a.png": BRIGHT}, {"a.png": levels})
    assert "are its edges smoothed? dataset.mask_threshold=127.5 takes what is brighter" in line_of(tmp_path)
    np.testing.assert_array_equal(imported(tmp_path, mask_threshold=127.5).targets[0, :, :, 0], SHAPE)


@pytest.mark.parametrize(
    ("images", "masks"),
    [([f"{number}_training.png" for number in (21, 22, 30)], [f"{number}_manual1.png" for number in (21, 22, 30)]),
     (["1_sat.png", "2_sat.png"], ["1_mask.png", "2_mask.png"]),
     (["a.ome.png", "b.ome.png"], ["a.png", "b.png"])],
)  # fmt: skip
def test_names_match_by_what_differs_in_them_if_all_of_them_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], images: list[str], masks: list[str]
) -> None:
    make_folder(tmp_path, dict.fromkeys(images, BRIGHT), dict.fromkeys(masks, BLACK_AND_WHITE))
    pairs = zip(images, masks, strict=True)
    assert [*opened(tmp_path).origins.files] == [(f"images/{image}", f"masks/{mask}") for image, mask in pairs]
    line = f"no mask has the name of an image; by what differs in their names masks/{masks[0]}"
    assert line in capsys.readouterr().err
    (tmp_path / "masks" / masks[-1]).rename(tmp_path / "masks/another_name.png")
    assert "no pairs: " in line_of(tmp_path)


def test_numbers_are_not_cut_for_names_to_match(tmp_path: Path) -> None:
    images, masks = [f"frame_01{n}.png" for n in range(10, 13)], [f"frame02{n}m.png" for n in range(10, 13)]
    make_folder(tmp_path, dict.fromkeys(images, BRIGHT), dict.fromkeys(masks, BLACK_AND_WHITE))
    assert "no pairs: " in line_of(tmp_path)


def test_folders_of_two_sets_that_cross_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side, other, name in (("train", "val", "a"), ("val", "train", "b")):
        save(tmp_path / f"{side}/images/{name}.png", BRIGHT)
        save(tmp_path / f"{other}/masks/{name}.png", BLACK_AND_WHITE)
    opened(tmp_path, images="*/images/*", masks="*/masks/*")
    assert "2 masks lie in another folder than their images, as val/masks/a.png for train/images/a.png" in (
        capsys.readouterr().err
    )


def test_a_jpeg_in_a_tiff_has_to_have_its_end(tmp_path: Path) -> None:
    picture = noise(64, 64)
    make_folder(tmp_path, {}, {"a.png": np.zeros((64, 64), np.uint8)})
    (tmp_path / "images").mkdir(exist_ok=True)
    path = tmp_path / "images/a.tif"
    tifffile.imwrite(path, picture, photometric="rgb", compression="jpeg")
    opened(tmp_path, fit="resize", strict=False).draw(range(1))
    path.write_bytes(path.read_bytes()[:-300] + bytes(300))
    assert "images/a.tif: broken image: JPEG data without their end" in refused(
        lambda: opened(tmp_path, fit="resize").draw(range(1))
    )


@pytest.mark.parametrize("value_range", [[0, 1], [0, 30]])
def test_a_range_by_which_images_show_nothing_is_refused(tmp_path: Path, value_range: list[float]) -> None:
    six(tmp_path)
    line = line_of(tmp_path, value_range=value_range)
    assert "no image of set train shows anything, each is of one colour; dataset.value_range says" in line
    assert (imported(tmp_path, value_range=value_range, strict=False).images == 255).all()


def test_a_value_that_means_no_data_is_not_in_the_range_that_is_advised(tmp_path: Path) -> None:
    make_folder(tmp_path, {}, {"a.png": BLACK_AND_WHITE})
    (tmp_path / "images").mkdir(exist_ok=True)
    for nothing in (-9999, -3.4e38):
        image = BRIGHT[..., 0] + np.linspace(0, 20, SIZE, dtype=np.float32)
        image[:3] = nothing
        tifffile.imwrite(tmp_path / "images/a.tif", image)
        (advised,) = re.findall(r"dataset\.value_range=(\S+) or", line_of(tmp_path))
        found = imported(tmp_path, value_range=yaml.safe_load(advised)).images[0, 3:, :, 0].astype(int)
        assert found[SHAPE[3:]].min() - found[~SHAPE[3:]].max() > 150


def test_a_colour_of_which_the_number_varies_is_refused(tmp_path: Path) -> None:
    """In masks whose palettes hold the colours that occur alone, as some programs write them."""
    half = np.arange(SIZE) < SIZE // 2
    six(tmp_path)
    for number in range(6):
        both = number % 2 == 0
        colours = [(0, 0, 0), *([(128, 0, 0)] if both else []), (0, 128, 0)]
        in_palette(np.where(SHAPE & half, 1, SHAPE * (1 + both)), *colours).save(tmp_path / f"masks/{number}.png")
    line = line_of(tmp_path, mask_values=[2])
    assert "masks/1.png: a palette of its own, in which #008000 is another number than in that of masks/0.png" in line
    named: dict[str, Any] = {"classes": ["cat"], "class_colors": ["#008000"]}
    assert imported(tmp_path, **named).targets.any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("options", [{"mask_values": [1]}, {"classes": ["dog", "cat"]}, {"classes": "all"}])
def test_greys_in_a_palette_beside_plain_ones_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    six(tmp_path, masks=np.where(SHAPE, 2, np.arange(SIZE) < 2).astype(np.uint8))
    in_palette(SHAPE, (0, 0, 0), (2, 2, 2)).save(tmp_path / "masks/3.png")  # as a program writes that makes files small
    line = line_of(tmp_path, **options)
    assert "its values are of 8 bits, those of masks/3.png of a palette of greys; one number is two greys" in line
    assert imported(tmp_path, mask_threshold=1).targets.sum() == 6 * SHAPE.sum()


def test_labels_beside_masks_in_colours_are_refused(tmp_path: Path) -> None:
    six(tmp_path, masks=red(SHAPE))
    save(tmp_path / "masks/3.png", SHAPE.astype(np.uint8))
    line = line_of(tmp_path, classes="all")
    assert "masks/3.png: labels in grey beside masks in colours; dataset.class_colors says which are classes" in line
    save(tmp_path / "masks/3.png", BLACK_AND_WHITE)  # white is a colour, too
    assert imported(tmp_path, classes="all").targets.max() == 2


def test_a_mask_that_alone_is_turned_is_refused(tmp_path: Path) -> None:
    six(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(BLACK_AND_WHITE).save(tmp_path / "masks/2.png", exif=exif)
    line = line_of(tmp_path)
    assert "masks/2.png: turned, as its orientation by EXIF or TIFF says, and its image images/2.png is not" in line
    Image.fromarray(BRIGHT).save(tmp_path / "images/2.png", exif=exif)
    assert np.array_equal(imported(tmp_path).targets[2, ..., 0], SHAPE[::-1, ::-1])


def test_a_mask_that_was_a_jpeg_is_advised_a_threshold_between(tmp_path: Path) -> None:
    six(tmp_path)
    speckles = np.random.default_rng(0).integers(0, 3, SHAPE.shape)
    save(tmp_path / "masks/0.png", np.where(SHAPE, 255 - speckles, speckles).astype(np.uint8))
    line = line_of(tmp_path)
    assert "holds the values 1, 2, 253, 254, 255 beside 0; was it a JPEG? dataset.mask_threshold=127.5 takes" in line
    assert np.array_equal(imported(tmp_path, mask_threshold=127.5).targets[0, ..., 0], SHAPE)


@pytest.mark.parametrize(
    ("names", "of_masks"),
    [
        (["images/train/0.png", "images/val/0.png"], ["masks/train/0.png", "masks/val/0.png"]),
        (["images/a/x.png", "images/b/x.png"], ["masks/a/x_mask.png", "masks/b/x_mask.png"]),
        (["001/image.png", "002/image.png"], ["001/mask.png", "002/mask.png"]),
        (["a/images/1.png", "b/images/1.png"], ["a/masks/1_mask.png", "b/masks/1_mask.png"]),
    ],
)
def test_names_that_repeat_match_by_their_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str], of_masks: list[str]
) -> None:
    assert match(names, of_masks[::-1]) == ([*zip(names, of_masks, strict=True)], [], [])
    assert f"names repeat; by what differs in their paths {of_masks[0]} is" in capsys.readouterr().err


def test_names_that_repeat_in_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    masks = {"a/x.png": BLACK_AND_WHITE, "b/x.png": BLACK_AND_WHITE, "b/y.png": BLACK_AND_WHITE}
    make_folder(tmp_path, dict.fromkeys(masks, BRIGHT), masks)
    options = {"images": "images/*/*", "masks": "masks/*/*"}
    assert len(imported(tmp_path, **options).images) == 3
    (tmp_path / "masks/b/x.png").unlink()
    assert "images/b/x.png: no mask of the same name" in line_of(tmp_path, **options)
    (tmp_path / "masks/b/y.png").unlink()
    line = line_of(tmp_path, **options)
    assert "images/b/x.png and images/a/x.png are both called 'x'; images and masks are matched by that" in line


@pytest.mark.parametrize("pattern", [".", "images/**"])
def test_patterns_that_are_of_no_files_are_refused(tmp_path: Path, pattern: str) -> None:
    six(tmp_path)
    assert f"{pattern!r}: a pattern of folders, allowed are those of files" in line_of(tmp_path, images=pattern)


def test_a_folder_of_a_format_that_is_not_read_is_told(tmp_path: Path) -> None:
    six(tmp_path)
    for path in (tmp_path / "images").iterdir():
        path.rename(path.with_suffix(".dcm"))
    assert "6 files, as images/0.dcm, are not read, allowed are .bmp" in line_of(tmp_path)


def test_what_all_files_have_is_not_advised_to_leave_out(tmp_path: Path) -> None:
    six(tmp_path, masks=BLACK_AND_WHITE[::2, ::2])
    line = line_of(tmp_path)
    assert "masks/0.png: 8×8 pixels, its image images/0.png has 16×16" in line
    assert "strict" not in line


def test_files_that_a_pattern_misses_by_their_case_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    six(tmp_path)
    for part in ("images", "masks"):
        (tmp_path / part / "0.png").rename(tmp_path / part / "0.PNG")
    assert len(imported(tmp_path, images="images/*.png", masks="masks/*.png").images) == 5
    of_images, of_masks = capsys.readouterr().err.splitlines()
    assert of_images.startswith("warning: 1 files end otherwise than 'images/*.png' by their case alone, as ")
    assert of_masks.endswith("masks/0.PNG")


# What is legal, and needs no word: how masks are made of a number from 0 to 5, and the parameters.
HALF = np.arange(SIZE) < SIZE // 2
GREY_LABELS = (0, 0, 0), (128, 128, 128), (255, 255, 255)
TWO_REDS = (0, 0, 0), (255, 0, 0), (255, 0, 0), (0, 0, 0)


def labels(number: int) -> np.ndarray:
    """One label or the other in a file, or both."""
    return np.where(SHAPE, (1, 2, np.where(HALF, 1, 2))[number % 3], 0)


def logits(number: int) -> np.ndarray:
    return np.where(SHAPE & (number > 0), 3.5, -2.5 - HALF).astype(np.float32)


LEGAL: dict[str, tuple[Callable[[int], Image.Image | np.ndarray], dict[str, Any]]] = {
    "greys in one palette": (lambda number: in_palette(labels(number), *GREY_LABELS), {"mask_values": [1]}),
    "classes in greys of one palette": (
        lambda number: in_palette(labels(number), *GREY_LABELS),
        {"classes": ["cat", "dog"]},
    ),
    "two labels in one colour": (lambda number: in_palette(labels(number), *TWO_REDS), {"mask_values": [1]}),
    "two classes in one colour": (lambda number: in_palette(labels(number), *TWO_REDS), {"classes": ["left", "right"]}),
    "colours of numbers that are asked for, in any order": (
        lambda number: in_palette(labels(number % 2), (0, 0, 0), *((9, 99, 9), (99, 9, 9))[:: (-1) ** (number // 2)]),
        {"classes": "all"},
    ),
    "logits, and none above zero": (logits, {"mask_threshold": 0.5}),
    "one label of several": (
        lambda number: (SHAPE * (1 + number)).astype(np.uint8),
        {"mask_values": [1]},
    ),
}


@pytest.mark.parametrize(("mask", "options"), LEGAL.values(), ids=LEGAL)
def test_what_is_legal_is_read_without_a_word(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    mask: Callable[[int], Image.Image | np.ndarray],
    options: dict[str, Any],
) -> None:
    make_folder(tmp_path, {f"@{number}.png": BRIGHT for number in range(6)}, {})
    for number in range(6):
        made = mask(number)
        if isinstance(made, Image.Image):
            made.save(tmp_path / f"masks/@{number}.png")
        else:
            tifffile.imwrite(tmp_path / f"masks/@{number}.tif", made)
    assert len(imported(tmp_path, **options).images) == 6
    assert not capsys.readouterr().err


def test_a_number_for_white_that_one_bit_and_eight_do_not_share_has_advice_that_takes_both(tmp_path: Path) -> None:
    line = line_of(of_two_scales(tmp_path), mask_values=[255])
    assert "dataset.mask_threshold=0 without dataset.mask_values takes what is not 0 in any" in line
    assert imported(tmp_path, mask_threshold=0).targets.any(axis=(1, 2, 3)).all()
