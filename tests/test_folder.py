"""A folder of one's own: which files make pairs, what is stored of them, how they are cut, split and refused."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from stages import generate, store
from stages.datasets import images, source
from stages.datasets.tiles import Cut, TileSource
from stages.errors import UserError
from stages.params import DatasetParams
from stages.store import Block, Origins, Pairs
from tests.files import black_and_white, make_folder, make_pairs, noise, save
from tests.project import dataset_options

SIZE = 16
SHAPE = np.zeros((SIZE, SIZE), bool)
SHAPE[3:9, 5:14] = True
COLOURS = noise(SIZE, SIZE)

Damage = Callable[[Path], object]


def options(folder: Path, **changes: Any) -> DatasetParams:
    """Those of a folder whose images are all for training, one tile each if they are small."""
    return dataset_options("folder", **{"path": str(folder), "image_size": SIZE, "test_share": 0.0, **changes})


def opened(folder: Path, item: str = "train", **changes: Any) -> TileSource:
    found = source(options(folder, **changes), item)
    assert isinstance(found, TileSource)
    return found


def drawn(folder: Path, item: str = "train", **changes: Any) -> Block:
    """All pairs of one side."""
    found = opened(folder, item, **changes)
    return found.draw(range(found.layout.count))


def refusal(folder: Path, item: str = "train", **changes: Any) -> str:
    """The one line that ends the attempt to have all pairs."""
    with pytest.raises(UserError) as caught:
        drawn(folder, item, **changes)
    line = str(caught.value)
    assert "\n" not in line
    return line


def same(left: Block, right: Block) -> bool:
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(left, right, strict=True))


# Pairs and their files


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
        ({"images": "photos/*"}, "no pairs: 0 images are photos/*, 2 masks are masks/*, none of the same name"),
        ({"images": "../*/*.png"}, "leads out of"),
        ({"masks": "../*/*.png"}, "leads out of"),
        ({"images": "/elsewhere/*.png"}, "'/elsewhere/*.png': Non-relative patterns are unsupported; allowed are glob"),
        ({"images": "*/*.png"}, "are both called 'a'; images and masks are matched by that"),
        ({"path": "nowhere"}, "dataset.path is 'nowhere', allowed is a folder with images/* and masks/*"),
    ],
)
def test_patterns_that_lead_nowhere_or_out_of_the_folder_are_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    make_pairs(tmp_path / "outside", 1)
    (tmp_path / "outside/a.png").write_bytes((tmp_path / "outside/images/a.png").read_bytes())
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


# Values

COMMON = [(suffix, bits, channels) for suffix in (".png", ".tif") for bits in (8, 16) for channels in (1, 3, 4)]
COMMON += [(suffix, 8, channels) for suffix in (".bmp", ".jpg") for channels in (1, 3)]


@pytest.mark.parametrize(("suffix", "bits", "channels"), COMMON)
def test_formats_give_the_values_that_are_in_them(tmp_path: Path, suffix: str, bits: int, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**bits, (SIZE, SIZE, channels), f"uint{bits}")
    if suffix == ".jpg":
        pixels[:] = pixels[0, 0]  # one colour survives its compression
    make_folder(tmp_path, {f"a{suffix}": pixels[..., 0] if channels == 1 else pixels}, {"a.png": SHAPE})
    most, lost = 2**bits - 1, 2 if suffix == ".jpg" else 0
    integers, reals = (drawn(tmp_path, dtype=dtype).images[0] for dtype in ("uint8", "float32"))
    assert (integers.dtype, reals.dtype) == (np.dtype("uint8"), np.dtype("float32"))
    assert np.abs(integers - np.round(pixels / most * 255)).max() <= lost
    assert np.abs(reals - pixels / most).max() <= lost / 255 + 1e-7


def test_16_bits_are_brought_to_the_nearest_of_8_or_to_reals(tmp_path: Path) -> None:
    every = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    save(tmp_path / "a.png", every)
    assert np.array_equal(images.read_image(tmp_path / "a.png", "uint8")[..., 0], np.round(every / 257))
    reals = every.astype(np.float32) / np.float32(65535)
    assert np.array_equal(images.read_image(tmp_path / "a.png", "float32")[..., 0], reals)


def in_palette(pixels: np.ndarray) -> Image.Image:
    """An image of places in a palette of dark red, green, blue and grey."""
    image = Image.fromarray(pixels.astype(np.uint8))
    image.putpalette([60, 0, 0, 0, 60, 0, 0, 0, 60, 60, 60, 60])
    return image


def in_black_and_white(pixels: np.ndarray) -> Image.Image:
    """The same in a palette of these."""
    image = Image.fromarray(pixels.astype(np.uint8))
    image.putpalette([0, 0, 0, 255, 255, 255])
    return image


UNUSUAL: dict[str, tuple[str, Callable[[Path], object], int]] = {
    "1 bit": ("a.png", lambda path: save(path, SHAPE), 1),
    "palette": ("a.png", lambda path: in_palette(SHAPE).save(path), 3),
    "palette BMP": ("a.bmp", lambda path: in_palette(SHAPE).save(path), 3),
    "palette TIFF": ("a.tif", lambda path: in_palette(SHAPE).save(path), 3),
    "palette with a clear colour": ("a.png", lambda path: in_palette(SHAPE).save(path, transparency=0), 4),
    "RGB with a clear colour": ("a.png", lambda path: Image.fromarray(COLOURS).save(path, transparency=(0, 0, 0)), 4),
    "grey with a clear value": ("a.png", lambda path: Image.fromarray(COLOURS[..., 0]).save(path, transparency=0), 1),
    "LZW": ("a.tif", lambda path: Image.fromarray(COLOURS).save(path, compression="tiff_lzw"), 3),
    "JPEG in a TIFF": ("a.tif", lambda path: Image.fromarray(COLOURS).save(path, compression="jpeg"), 3),
    "several pages": ("a.tif", lambda path: tifffile.imwrite(path, np.stack([COLOURS] * 2), photometric="rgb"), 3),
    "BigTIFF": ("a.tif", lambda path: tifffile.imwrite(path, COLOURS, photometric="rgb", bigtiff=True), 3),
    "tiled": ("a.tif", lambda path: tifffile.imwrite(path, COLOURS, photometric="rgb", tile=(32, 32)), 3),
}


@pytest.mark.parametrize(("name", "write", "channels"), UNUSUAL.values(), ids=UNUSUAL)
def test_the_head_of_an_image_promises_what_is_read_of_it(
    tmp_path: Path, name: str, write: Callable[[Path], object], channels: int
) -> None:
    write(tmp_path / name)
    assert images.read_header(tmp_path / name) == (SIZE, SIZE, channels)
    assert images.read_image(tmp_path / name, "uint8").shape == (SIZE, SIZE, channels)


REFUSED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "CMYK": ("a.jpg", lambda path: Image.fromarray(COLOURS).convert("CMYK").save(path), "mode CMYK, allowed are grey"),
    "grey and alpha": ("a.png", lambda path: Image.fromarray(COLOURS).convert("LA").save(path), "mode LA, allowed are"),
    "real numbers": (
        "a.tif",
        lambda path: save(path, COLOURS[..., 0] / 255),
        "values of float64, allowed are 8 and 16",
    ),
    "turned": (
        "a.tif",
        lambda path: tifffile.imwrite(path, COLOURS, extratags=[(274, 3, 1, 6, True)]),
        "orientation 6, allowed is 1",
    ),
    "four channels in a compression that would change them": (
        "a.tif",
        lambda path: Image.fromarray(np.dstack([COLOURS, SHAPE])).save(path, compression="tiff_lzw"),
        "four channels of 8 bits in LZW, allowed for these is Deflate or none",
    ),
    "channel after channel": (
        "a.tif",
        lambda path: tifffile.imwrite(path, np.moveaxis(COLOURS, 2, 0), photometric="rgb", planarconfig="separate"),
        "axes of (3, 16, 16), allowed are grey, RGB and RGBA",
    ),
}


@pytest.mark.parametrize(("name", "write", "said"), REFUSED.values(), ids=REFUSED)
def test_images_of_other_kinds_are_refused(
    tmp_path: Path, name: str, write: Callable[[Path], object], said: str
) -> None:
    make_pairs(tmp_path, 1)
    (tmp_path / "images/a.png").unlink()
    write(tmp_path / "images" / name)
    assert said in refusal(tmp_path)


# Masks

LABELS = np.where(SHAPE, COLOURS[..., 0] % 2 + 2, COLOURS[..., 1] % 2).astype(np.uint8)  # 2 and 3 are the shape

MASKS: dict[str, tuple[str, Callable[[Path], object], list[int] | None]] = {
    "black and white": ("a.png", lambda path: save(path, SHAPE * np.uint8(255)), None),
    "zeros and ones": ("a.png", lambda path: save(path, SHAPE.astype(np.uint8)), None),
    "1 bit": ("a.png", lambda path: save(path, SHAPE), None),
    "16 bits": ("a.png", lambda path: save(path, SHAPE * np.uint16(65535)), None),
    "RGB": ("a.png", lambda path: save(path, np.dstack([SHAPE * np.uint8(255)] * 3)), None),
    "RGBA": (
        "a.png",
        lambda path: save(path, np.dstack([SHAPE * np.uint8(255)] * 3 + [COLOURS[..., 0]])),
        None,
    ),
    "labels": ("a.png", lambda path: save(path, LABELS), [2, 3]),
    "labels of which there is one": ("a.png", lambda path: save(path, SHAPE * np.uint8(7)), [7, 9]),
    "palette": ("a.png", lambda path: in_palette(LABELS).save(path), [3, 2]),
    "palette of one class": ("a.png", lambda path: in_palette(SHAPE).save(path), None),
    "BMP": ("a.bmp", lambda path: save(path, SHAPE * np.uint8(255)), None),
    "BMP of 1 bit": ("a.bmp", lambda path: save(path, SHAPE), None),
    "BMP of labels": ("a.bmp", lambda path: in_palette(LABELS).save(path), [2, 3]),
    "BMP of two colours": ("a.bmp", lambda path: in_black_and_white(SHAPE).save(path), None),
    "TIFF": ("a.tif", lambda path: save(path, SHAPE * np.uint8(255)), None),
    "TIFF of 1 bit": ("a.tif", lambda path: save(path, SHAPE), None),
    "TIFF of labels": (
        "a.tif",
        lambda path: save(path, np.where(SHAPE, LABELS * np.int32(200), LABELS)),
        [400, 600],
    ),
    "TIFF of reals": ("a.tif", lambda path: save(path, SHAPE.astype(np.float32)), None),
    "TIFF with LZW": ("a.tif", lambda path: Image.fromarray(LABELS).save(path, compression="tiff_lzw"), [2, 3]),
    "TIFF as a fax": ("a.tif", lambda path: Image.fromarray(SHAPE).save(path, compression="group4"), None),
    "background as mask": ("a.png", lambda path: Image.fromarray(np.where(SHAPE, 0, LABELS + 1)).save(path), [0]),
    "JPEG": ("a.jpg", lambda path: Image.fromarray(SHAPE * np.uint8(255)).save(path, quality=85), None),
}


@pytest.mark.parametrize(("name", "write", "values"), MASKS.values(), ids=MASKS)
def test_masks_are_zeros_and_ones_however_they_are_written(
    tmp_path: Path, name: str, write: Callable[[Path], object], values: list[int] | None
) -> None:
    make_folder(tmp_path, {"a.png": COLOURS}, {})
    write(tmp_path / "masks" / name)
    mask = drawn(tmp_path, mask_values=values).targets[0]
    assert (mask.shape, mask.dtype) == ((SIZE, SIZE, 1), np.dtype("uint8"))
    assert np.array_equal(mask[..., 0], SHAPE)


def test_a_mask_may_be_empty(tmp_path: Path) -> None:
    make_folder(tmp_path, {"a.png": COLOURS, "b.png": COLOURS}, {"a.png": SHAPE & False, "b.png": SHAPE * np.uint8(0)})
    assert not drawn(tmp_path).targets.any()


@pytest.mark.parametrize(
    ("name", "pixels", "values", "said"),
    [
        ("a.png", LABELS, None, "holds the values 1, 2, 3 beside 0; dataset.mask_values=[1] or a longer list says"),
        ("a.png", SHAPE * np.uint8(7), None, "holds the values 7 beside 0; dataset.mask_values=[7] or a longer list"),
        ("a.png", COLOURS[..., 0], None, ", … beside 0; dataset.mask_values=["),
        ("a.tif", LABELS.astype("u2"), None, "holds the values 1, 2, 3 beside 0; dataset.mask_values=[1] or a longer"),
        ("a.png", COLOURS, None, "a mask in colours, allowed is one channel, or several that are equal"),
        ("a.png", COLOURS, [1], "a mask in colours, allowed is one channel, or several that are equal"),
        (
            "a.jpg",
            SHAPE * np.uint8(255),
            [255],
            "labels in a JPEG are blurred; dataset.mask_values needs another format",
        ),
    ],
)
def test_masks_that_do_not_say_what_the_mask_is_are_refused(
    tmp_path: Path, name: str, pixels: np.ndarray, values: list[int] | None, said: str
) -> None:
    make_folder(tmp_path, {"a.png": COLOURS}, {name: pixels})
    line = refusal(tmp_path, mask_values=values)
    assert f"masks/{name}: " in line
    assert said in line


# Tiles

fits = st.sampled_from(["tile", "resize", "pad"])
cuts = st.builds(
    lambda size, whole, fit, overlap: Cut(size, whole, fit, overlap % size),
    st.integers(1, 24), st.booleans(), fits, st.integers(0, 23),
)  # fmt: skip
sides = st.integers(1, 100)


def pixels_of(starts: Sequence[int], size: int) -> list[int]:
    return [pixel for start in starts for pixel in range(start, start + size)]


@given(cuts, sides)
def test_tiles_cover_an_image_and_stay_inside(cut: Cut, length: int) -> None:
    cut = cut._replace(whole=False, fit="tile")
    starts = cut.starts(length)
    if length < cut.size:
        assert starts == []
        return
    assert set(pixels_of(starts, cut.size)) == set(range(length))
    steps = np.diff(starts)
    assert (steps[:-1] == cut.size - cut.overlap).all()
    assert ((steps > 0) & (steps <= cut.size - cut.overlap)).all()


@given(cuts, sides)
def test_padded_tiles_cover_an_image_and_none_of_them_is_needless(cut: Cut, length: int) -> None:
    cut = cut._replace(whole=False, fit="pad")
    starts = cut.starts(length)
    stride = cut.size - cut.overlap
    assert starts == [stride * place for place in range(len(starts))]
    assert set(pixels_of(starts, cut.size)) >= set(range(length))
    assert len(starts) == 1 or starts[-2] + cut.size < length


@given(cuts, sides)
def test_images_are_scaled_to_the_nearest_size_of_whole_tiles(cut: Cut, length: int) -> None:
    cut = cut._replace(whole=False, fit="resize")
    starts, scaled, stride = cut.starts(length), cut.scaled(length), cut.size - cut.overlap
    assert starts == list(range(0, scaled - cut.size + 1, stride))
    assert starts[-1] + cut.size == scaled
    others = [scaled + stride, *([scaled - stride] if scaled > cut.size else [])]
    assert all(abs(scaled - length) <= abs(other - length) for other in others)


@given(cuts, sides)
def test_one_tile_an_image_is_the_whole_of_it(cut: Cut, length: int) -> None:
    cut = cut._replace(whole=True)
    fitting = {"tile": length == cut.size, "pad": length <= cut.size, "resize": True}[cut.fit]
    assert cut.starts(length) == [0] * fitting
    assert cut.scaled(length) == (cut.size if cut.fit == "resize" else length)


@given(cuts, sides, sides)
def test_tiles_are_counted_row_by_row(cut: Cut, height: int, width: int) -> None:
    grid = cut.grid(height, width)
    assert (grid.dtype, grid.shape[1:]) == (np.dtype("int32"), (2,))
    assert grid.tolist() == [[top, left] for top in cut.starts(height) for left in cut.starts(width)]


def nearest(mask: np.ndarray, height: int, width: int) -> list[np.ndarray]:
    """What a mask is in another size: the pixel that each centre falls into, or either if it falls between two."""
    rows, columns = (
        [
            [centre * old // (2 * new) for centre in range(1, 2 * new, 2)],
            [-(-centre * old // (2 * new)) - 1 for centre in range(1, 2 * new, 2)],
        ]
        for old, new in zip(mask.shape, (height, width), strict=True)
    )
    return [mask[each][:, other] for each in rows for other in columns]


def filled_up(image: np.ndarray, size: int) -> np.ndarray:
    """An image with zeros to its right and below."""
    return np.pad(image, [(0, size), (0, size), *[(0, 0)] * (image.ndim - 2)])


@given(cuts, st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=3))
@settings(deadline=None, max_examples=40)
def test_pairs_are_what_stands_at_their_places(cut: Cut, sizes: list[tuple[int, int]]) -> None:
    grids = [cut.grid(*size).tolist() for size in sizes]
    assume(any(grids))
    with tempfile.TemporaryDirectory() as name:
        pictures = {f"{place}.png": noise(*size, seed=place) for place, size in enumerate(sizes)}
        masks = {f"{place}.png": black_and_white(*size, seed=place) for place, size in enumerate(sizes)}
        make_folder(Path(name), pictures, masks)
        found = opened(Path(name), image_size=cut.size, tile=not cut.whole, fit=cut.fit, overlap=cut.overlap)
        assert found.origins.tiles.tolist() == [[file, *place] for file, grid in enumerate(grids) for place in grid]
        block = found.draw(range(found.layout.count))
    for (file, top, left), image, mask in zip(found.origins.tiles.tolist(), *block, strict=True):
        part = slice(top, top + cut.size), slice(left, left + cut.size)
        size = tuple(map(cut.scaled, sizes[file]))
        wholes = [filled_up(each // 255, cut.size) for each in nearest(masks[f"{file}.png"], *size)]
        assert np.any([mask[..., 0] == whole[part] for whole in wholes], axis=0).all()
        if size == sizes[file]:
            assert np.array_equal(image, filled_up(pictures[f"{file}.png"], cut.size)[part])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_are_made_smaller_by_means_and_larger_by_what_lies_between(tmp_path: Path, channels: int) -> None:
    large, small = noise(2 * SIZE, 2 * SIZE, channels), noise(SIZE // 2, SIZE // 2, channels)
    small[:, : SIZE // 4], small[:, SIZE // 4 :] = 50, 150
    make_folder(
        tmp_path,
        {"a.png": large, "b.png": small},
        {"a.png": black_and_white(2 * SIZE, 2 * SIZE), "b.png": black_and_white(SIZE // 2, SIZE // 2)},
    )
    first, second = drawn(tmp_path, fit="resize", tile=False).images.astype(float)
    assert np.abs(first - large.reshape(SIZE, 2, SIZE, 2, channels).mean(axis=(1, 3))).max() <= 0.5
    assert (second[:, : SIZE // 4] == 50).all()
    assert (second[:, -SIZE // 4 :] == 150).all()
    assert (np.diff(second, axis=1) >= 0).all()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("fit", ["tile", "resize", "pad"])
def test_a_pair_is_the_same_in_whatever_range_it_is_drawn(tmp_path: Path, fit: str, dtype: str) -> None:
    make_pairs(tmp_path, 3, 40, 28)
    found = opened(tmp_path, fit=fit, overlap=4, dtype=dtype)
    count = found.layout.count
    assert count >= 3 * 6
    whole = found.draw(range(count))
    for start in range(count):
        for stop in (start, start + 1, min(count, start + 5)):
            assert same(found.draw(range(start, stop)), Block(*(array[start:stop] for array in whole)))


def test_images_that_give_no_tile_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_pairs(tmp_path, 2)
    make_folder(tmp_path, {"x.png": noise(8, 30)}, {"x.png": black_and_white(8, 30)})
    block = drawn(tmp_path)
    assert len(block.images) == 2
    line = capsys.readouterr().err
    assert line == (
        "warning: 1 images left out, as one of 8×30, since they give no tile of 16×16; "
        "dataset.fit=pad or resize takes them in\n"
    )
    for fit in ("pad", "resize"):
        assert len(drawn(tmp_path, fit=fit).images) >= 3
    assert capsys.readouterr().err == ""


def test_a_folder_of_which_no_image_gives_a_tile_is_refused(tmp_path: Path) -> None:
    line = refusal(make_pairs(tmp_path, 2, 12, 20), strict=False)
    assert "dataset.image_size is 16: none of 2 images gives a tile of that size, the first has 12×20" in line
    assert "dataset.fit=pad or resize takes them in" in line


def test_one_tile_an_image_leaves_larger_images_out(tmp_path: Path) -> None:
    assert "none of 2 images gives a tile" in refusal(make_pairs(tmp_path, 2, 32, 32), tile=False)


def test_images_of_different_channels_are_refused(tmp_path: Path) -> None:
    make_pairs(tmp_path, 3)
    save(tmp_path / "images/b.png", noise(SIZE, SIZE, 1))
    line = refusal(tmp_path, strict=False)
    assert "images/b.png: 1 channels, most images have 3; all need the same number" in line


@pytest.mark.parametrize(("item", "share"), [("train", 0.0), ("test", 1.0)])
def test_as_many_pairs_are_taken_as_asked_for_and_more_than_there_are_refused(
    tmp_path: Path, item: str, share: float
) -> None:
    make_pairs(tmp_path, 2, 32, 32)
    whole = drawn(tmp_path, item, test_share=share)
    some = drawn(tmp_path, item, test_share=share, **{f"{item}_count": 5})
    assert same(some, Block(*(array[:5] for array in whole)))
    assert same(drawn(tmp_path, item, test_share=share, **{f"{item}_count": 8}), whole)
    line = refusal(tmp_path, item, test_share=share, **{f"{item}_count": 9})
    assert f"dataset.{item}_count is 9, allowed is null or at most 8, the tiles of the images to {item}" in line


# The split

stems = st.lists(st.integers(0, 999), min_size=1, max_size=40, unique=True)
patients = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99)), min_size=1, max_size=40, unique=True)
seeds = st.integers(0, 2**63 - 1)
shares = st.floats(0, 1)


def paths_of(numbers: Sequence[int]) -> list[str]:
    return [f"images/{number}.png" for number in numbers]


@given(stems, shares, seeds)
def test_a_share_of_the_images_is_for_testing(numbers: list[int], share: float, seed: int) -> None:
    paths = paths_of(numbers)
    testing = images.split(paths, share, seed, None, None)
    assert sum(testing) == round(share * len(paths))
    backwards = images.split(paths[::-1], share, seed, None, None)
    assert backwards[::-1] == testing


@given(stems, stems, shares, seeds)
def test_a_new_image_moves_at_most_one_of_the_others(old: list[int], new: list[int], share: float, seed: int) -> None:
    every = old + [number for number in new if number not in old]
    before = images.split(paths_of(old), share, seed, None, None)
    after = images.split(paths_of(every), share, seed, None, None)[: len(old)]
    assert sum(a != b for a, b in zip(before, after, strict=True)) <= len(every) - len(old)


@given(patients, shares, seeds)
def test_groups_are_never_torn_apart(numbers: list[tuple[int, int]], share: float, seed: int) -> None:
    paths = [f"images/p{patient}_{number}.png" for patient, number in numbers]
    testing = images.split(paths, share, seed, None, r"/p(\d+)_")
    sides = {(patient, tests) for (patient, _), tests in zip(numbers, testing, strict=True)}
    groups = {patient for patient, _ in numbers}
    assert len(sides) == len(groups)
    assert sum(tests for _, tests in sides) == round(share * len(groups))


@given(patients, st.integers(0, 9), shares)
def test_a_pattern_says_what_is_for_testing_whatever_the_share(
    numbers: list[tuple[int, int]], chosen: int, share: float
) -> None:
    paths = [f"images/p{patient}_{number}.png" for patient, number in numbers]
    testing = images.split(paths, share, 0, rf"_{chosen}\.png$", None)
    assert testing == [number == chosen for _, number in numbers]
    groups = {patient for patient, number in numbers if number == chosen}
    testing = images.split(paths, share, 0, rf"_{chosen}\.png$", r"/p(\d+)_")
    assert testing == [patient in groups for patient, _ in numbers]


def test_the_split_is_drawn_by_its_seed_and_stays_what_it_was_when_first_published() -> None:
    paths = paths_of(range(10))
    splits = [images.split(paths, 0.3, seed, None, None) for seed in range(20)]
    assert len({tuple(split) for split in splits}) > 10
    assert [place for place, tests in enumerate(splits[0]) if tests] == [0, 1, 4]


@pytest.mark.parametrize(
    "changes",
    [
        {"test_share": 0.4},
        {"test_share": 0.4, "split_seed": 7},
        {"test_pattern": "[bd]"},
        {"test_share": 0.5, "group_pattern": "([a-c]|[d-f]).png"},
    ],
)
def test_every_image_is_on_one_side_alone(tmp_path: Path, changes: dict[str, Any]) -> None:
    make_pairs(tmp_path, 6)
    train, test = (opened(tmp_path, item, **changes).origins.files for item in ("train", "test"))
    assert sorted(tuple(files) for files in [*train, *test]) == [
        (f"images/{stem}.png", f"masks/{stem}.png") for stem in "abcdef"
    ]


@pytest.mark.parametrize(
    ("item", "changes", "said"),
    [
        ("test", {"test_share": 0.1}, "dataset.test_share is 0.1: of 3 images none is left to test"),
        ("train", {"test_share": 0.9}, "dataset.test_share is 0.9: of 3 images none is left to train"),
        ("test", {"test_pattern": "x"}, "dataset.test_pattern is 'x': of 3 images none is left to test"),
        ("train", {"test_pattern": "images"}, "dataset.test_pattern is 'images': of 3 images none is left to train"),
        (
            "train",
            {"group_pattern": "(a|b)[.]"},
            "is '(a|b)[.]', allowed is one that finds its group in 'images/c.png'",
        ),
        ("train", {"group_pattern": "images/(a|b)?"}, "allowed is one that finds its group in 'images/c.png', too"),
    ],
)
def test_empty_sides_and_images_without_a_group_are_refused(
    tmp_path: Path, item: str, changes: dict[str, Any], said: str
) -> None:
    assert said in refusal(make_pairs(tmp_path, 3), item, strict=False, **changes)


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
    "a mask cut off": ("masks", cut_off, "masks/c.png: broken image: image file is truncated"),
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


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif"])
def test_no_damage_to_a_file_ends_in_anything_but_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    save(path, noise(12, 14))
    content = path.read_bytes()
    random = np.random.default_rng(0)
    lines = []
    for _ in range(150):
        damaged = np.frombuffer(content, np.uint8).copy()
        places = random.integers(0, min(len(content), 300), 3)
        damaged[places] = random.choice([0, 1, 2, 127, 255], 3)
        path.write_bytes(damaged[: random.choice([len(content), int(random.integers(len(content)))])].tobytes())
        try:
            height, width, _ = images.read_header(path)
            if height * width < 10**6:
                images.read_image(path, "uint8")
                images.read_mask(path, [1])
        except UserError as error:
            lines.append(str(error))
    assert len(lines) > 20
    assert not [line for line in lines if "\n" in line]


# Origins


def write(path: Path, found: TileSource) -> Pairs:
    """A set as stage `generate` writes it."""
    checksums = generate._write_shards(found, path, 2, "test")
    store.create(path, found.layout, {})
    store.finish(path, checksums, origins=found.origins)
    return Pairs(path)


@pytest.fixture(scope="module")
def small_shards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "SHARD_ROWS", 5)
        yield


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory, small_shards: None) -> tuple[Path, Pairs]:
    """A folder and the set of its tiles, in several shards; not to be changed."""
    folder = make_pairs(tmp_path_factory.mktemp("folder"), 4, 40, 28)
    return folder, write(folder.parent / "set.zarr", opened(folder, overlap=4))


def named(origins: Origins | None) -> list[tuple[str, str, int, int]]:
    """Of each pair its image, its mask, top and left."""
    assert origins is not None
    return [(*origins.files[file], top, left) for file, top, left in origins.tiles.tolist()]


def check_origins(folder: Path, pairs: Pairs) -> None:
    """Check that each pair is what stands where its origin says."""
    block = pairs.read(range(len(pairs)))
    for (image, mask, top, left), *pair in zip(named(pairs.origins()), *block, strict=True):
        part = slice(top, top + SIZE), slice(left, left + SIZE)
        assert np.array_equal(np.asarray(Image.open(folder / image))[part], pair[0])
        assert np.array_equal(np.asarray(Image.open(folder / mask))[part] // 255, pair[1][..., 0])


def test_origins_name_the_files_and_places_of_pairs(cut: tuple[Path, Pairs]) -> None:
    folder, pairs = cut
    assert len(pairs) == 4 * 3 * 2
    assert named(pairs.origins()) == named(opened(folder, overlap=4).origins)
    check_origins(folder, pairs)


@pytest.mark.parametrize("rows", [[0], [1], [23, 0, 17], [9, 8, 8, 20], range(24)])
def test_rows_that_are_copied_keep_their_origins(cut: tuple[Path, Pairs], tmp_path: Path, rows: Sequence[int]) -> None:
    folder, pairs = cut
    store.copy_rows(pairs, np.array(rows), tmp_path / "copy.zarr", {})
    copied = Pairs(tmp_path / "copy.zarr")
    every = named(pairs.origins())
    assert named(copied.origins()) == [every[row] for row in rows]
    check_origins(folder, copied)


def test_a_set_that_comes_from_no_files_has_no_origins(tmp_path: Path) -> None:
    found = source(dataset_options("ellipses", image_size=64, train_count=2), "train")
    store.create(tmp_path / "set.zarr", found.layout, {})
    checksums = store.write_shard(tmp_path / "set.zarr", found.layout, 0, found.draw(range(2)))
    store.finish(tmp_path / "set.zarr", checksums, origins=found.origins)
    assert Pairs(tmp_path / "set.zarr").origins() is None


def rewritten(column: str, values: np.ndarray) -> Damage:
    """Has another column in place of the one that was written, with checksums that are right."""

    def damage(path: Path) -> None:
        shutil.rmtree(path / column)
        store._write_column(zarr.open_group(path, mode="r+"), column, values)

    return damage


def files_of(content: object) -> Damage:
    text = content if isinstance(content, str) else json.dumps(content)
    return rewritten("files", np.frombuffer(text.encode(), np.uint8))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


def with_shape(column: str, shape: list[int]) -> Damage:
    def damage(path: Path) -> None:
        file = path / column / "zarr.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "shape": shape}))

    return damage


SPOILED: dict[str, Any] = {
    "tiles: a bit": lambda path: flip(path / "tiles/c/0/0"),
    "tiles: the end": lambda path: cut_off(path / "tiles/c/0/0"),
    "tiles: values": lambda path: (path / "tiles/c/0/0").unlink(),
    "tiles: metadata": lambda path: (path / "tiles/zarr.json").unlink(),
    "tiles: shape": with_shape("tiles", [23, 3]),
    "tiles: all": lambda path: shutil.rmtree(path / "tiles"),
    "tiles: below zero": rewritten("tiles", np.full((24, 3), -1, np.int32)),
    "tiles: beyond the files": rewritten("tiles", np.full((24, 3), 4, np.int32)),
    "tiles: dtype": rewritten("tiles", np.zeros((24, 3), np.int64)),
    "files: a bit": lambda path: flip(path / "files/c/0"),
    "files: the end": lambda path: cut_off(path / "files/c/0"),
    "files: values": lambda path: (path / "files/c/0").unlink(),
    "files: metadata": lambda path: (path / "files/zarr.json").unlink(),
    "files: shape": with_shape("files", [2**40]),
    "files: axes": with_shape("files", [8, 16]),
    "files: all": lambda path: shutil.rmtree(path / "files"),
    "files: no JSON": files_of("[["),
    "files: depth": files_of("[" * 10**5),
    "files: no names": files_of([["a"], ["b"], [1], ["d"]]),
    "files: no lists": files_of(["a", "b", "c", "d"]),
    "files: empty lists": files_of([[], [], [], []]),
    "files: too few": files_of([["a"], ["b"]]),
}


@pytest.mark.parametrize("damage", SPOILED.values(), ids=SPOILED)
def test_origins_that_are_damaged_end_in_one_line_that_says_how_to_restore_them(
    cut: tuple[Path, Pairs], tmp_path: Path, damage: Damage
) -> None:
    path = Path(shutil.copytree(cut[1].path, tmp_path / "set.zarr"))
    damage(path)
    with pytest.raises(UserError) as caught:
        Pairs(path).origins()
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(path))
    assert "`dvc checkout --force " in line


def test_a_palette_of_black_and_white_goes_by_its_colours_unless_labels_are_named(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 1]], np.uint8), mode="P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "mask.png")
    assert images.read_mask(tmp_path / "mask.png", None)[..., 0].tolist() == [[1, 0], [0, 0]]
    assert images.read_mask(tmp_path / "mask.png", [1])[..., 0].tolist() == [[0, 1], [1, 1]]


def test_a_mask_in_which_white_is_0_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "mask.tif", np.zeros((4, 4), np.uint8), photometric="miniswhite")
    with pytest.raises(UserError, match=r"mask\.tif: white is 0 in it, allowed are masks in which"):
        images.read_mask(tmp_path / "mask.tif", None)
