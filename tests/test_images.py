"""Images and masks in files: the values that are read of each format, and the line that any damage ends in."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from stages.datasets.shared.decode import read_header
from stages.datasets.shared.image import read_image
from stages.datasets.shared.mask import Rule, read_mask
from stages.pipeline.errors import UserError
from tests.files import make_folder, make_pairs, noise, save
from tests.sources import COLOURS, LABELS, SHAPE, SIZE, drawn, refusal

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
    assert np.array_equal(read_image(tmp_path / "a.png", "uint8")[..., 0], np.round(every / 257))
    reals = every.astype(np.float32) / np.float32(65535)
    assert np.array_equal(read_image(tmp_path / "a.png", "float32")[..., 0], reals)


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
    "channel after channel": (
        "a.tif",
        lambda path: tifffile.imwrite(path, np.moveaxis(COLOURS, 2, 0), photometric="rgb", planarconfig="separate"),
        3,
    ),
    "four channels with LZW": (
        "a.tif",
        lambda path: Image.fromarray(np.dstack([COLOURS, SHAPE])).save(path, compression="tiff_lzw"),
        4,
    ),
    "WebP": ("a.webp", lambda path: Image.fromarray(COLOURS).save(path, lossless=True), 3),
    "WebP with alpha": ("a.webp", lambda path: Image.fromarray(np.dstack([COLOURS, SHAPE])).save(path), 4),
    "GIF": ("a.gif", lambda path: in_palette(SHAPE).save(path), 3),
    "PNG that is called JPEG": ("a.jpg", lambda path: Image.fromarray(COLOURS).save(path, format="PNG"), 3),
    "BigTIFF": ("a.tif", lambda path: tifffile.imwrite(path, COLOURS, photometric="rgb", bigtiff=True), 3),
    "tiled": ("a.tif", lambda path: tifffile.imwrite(path, COLOURS, photometric="rgb", tile=(32, 32)), 3),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_an_image_is_read_as_it_is_shown(tmp_path: Path, suffix: str, orientation: int) -> None:
    shown = np.kron(np.array([[0, 80, 160], [240, 120, 40]], np.uint8), np.ones((16, 16), np.uint8))
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[274] = orientation
    turned = Image.fromarray(shown)
    for stored in (2, 3, 4, 5, 6, 7, 8):  # by Pillow's own table, turned the other way
        if orientation == stored:
            turned = turned.transpose(BACK[stored])
    if suffix == ".tif":
        tifffile.imwrite(path, np.asarray(turned), extratags=[(274, 3, 1, orientation, True)])
    else:
        turned.save(path, exif=exif, **({"lossless": True} if suffix == ".webp" else {"quality": 100}))
    read = read_image(path, "uint8")[..., 0]
    assert read_header(path)[:2] == read.shape == shown.shape
    assert np.abs(read.astype(int) - shown).max() <= 3


BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize(("name", "write", "channels"), UNUSUAL.values(), ids=UNUSUAL)
def test_the_head_of_an_image_promises_what_is_read_of_it(
    tmp_path: Path, name: str, write: Callable[[Path], object], channels: int
) -> None:
    write(tmp_path / name)
    assert read_header(tmp_path / name)[:3] == (SIZE, SIZE, channels)
    assert read_image(tmp_path / name, "uint8").shape == (SIZE, SIZE, channels)


def write_rows(path: Path, depth: int, kind: int) -> None:
    """A PNG, grey (kind 0) or of a palette (3), that ends well after half of its rows."""
    row = b"\0" + bytes(SIZE * depth // 8)
    head = struct.pack(">IIBBBBB", SIZE, SIZE, depth, kind, 0, 0, 0)
    parts = [(b"IHDR", head), (b"PLTE", bytes(6)), (b"IDAT", zlib.compress(row * (SIZE // 2))), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
        if kind or name != b"PLTE"
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


REFUSED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "CMYK": ("a.jpg", lambda path: Image.fromarray(COLOURS).convert("CMYK").save(path), "mode CMYK, allowed are grey"),
    "grey and alpha": ("a.png", lambda path: Image.fromarray(COLOURS).convert("LA").save(path), "mode LA, allowed are"),
    "real numbers": (
        "a.tif",
        lambda path: save(path, COLOURS[..., 0] / 255),
        "values of float64, allowed are 8 and 16 bits; dataset.value_range=[0,1] or another range says",
    ),
    "CMYK in a TIFF": (
        "a.tif",
        lambda path: Image.fromarray(COLOURS).convert("CMYK").save(path),
        "colours of kind SEPARATED, allowed are grey, RGB and RGBA",
    ),
    "complex numbers": (
        "a.tif",
        lambda path: save(path, COLOURS[..., 0] * np.complex64(1j)),
        "values of complex64, allowed are integers and reals",
    ),
    "not finite, of 16 bits": (
        "a.tif",
        lambda path: save(path, np.full((SIZE, SIZE), np.nan, np.float16)),
        "values of float16, allowed are 8 and 16 bits; dataset.value_range=[0,1] or another range says",
    ),
    "a palette and too few rows": ("a.png", lambda path: write_rows(path, 8, 3), "images/a.png: broken image, or none"),
    "1 bit and too few rows": ("a.png", lambda path: write_rows(path, 1, 0), "images/a.png: broken image, or none"),
    "channels as pages": (
        "a.tif",
        lambda path: tifffile.imwrite(path, np.moveaxis(COLOURS, 2, 0), imagej=True, metadata={"axes": "CYX"}),
        "its pages are channels (axes CYX of (3, 16, 16)), allowed are channels within a page",
    ),
    "pages of other sizes": (
        "a.tif",
        lambda path: (tifffile.imwrite(path, COLOURS), tifffile.imwrite(path, COLOURS[::2], append=True)),
        "pages of (16, 16, 3) and (8, 16, 3), allowed are pages of one shape",
    ),
    "more pages than masks": (
        "a.tif",
        lambda path: tifffile.imwrite(path, np.stack([COLOURS] * 2), photometric="rgb"),
        "1 pages, its image images/a.tif has 2; allowed are as many",
    ),
    "a moving picture": (
        "a.gif",
        lambda path: in_palette(SHAPE).save(path, save_all=True, append_images=[in_palette(~SHAPE)]),
        "a moving picture of 2 frames, allowed are single images",
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

MASKS: dict[str, tuple[str, Callable[[Path], object], list[int] | None]] = {
    "black and white": ("a.png", lambda path: save(path, SHAPE * np.uint8(255)), None),
    "zeros and ones": ("a.png", lambda path: save(path, SHAPE.astype(np.uint8)), None),
    "1 bit": ("a.png", lambda path: save(path, SHAPE), None),
    "16 bits": ("a.png", lambda path: save(path, SHAPE * np.uint16(65535)), None),
    "RGB": ("a.png", lambda path: save(path, np.dstack([SHAPE * np.uint8(255)] * 3)), None),
    "RGBA": (
        "a.png",
        lambda path: save(path, np.dstack([SHAPE * np.uint8(255)] * 3 + [COLOURS[..., 0] | 1])),
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
        ("a.png", COLOURS[..., 0], None, ", … beside 0; is it an image? dataset.mask_threshold="),
        ("a.tif", LABELS.astype("u2"), None, "holds the values 1, 2, 3 beside 0; dataset.mask_values=[1] or a longer"),
        ("a.png", COLOURS, None, "a mask in colours, allowed is one channel, or several that are equal"),
        ("a.png", COLOURS, [1], "a mask in colours, allowed is one channel, or several that are equal"),
        (
            "a.jpg",
            SHAPE * np.uint8(255),
            [255],
            "labels in a JPEG are blurred, which dataset.mask_values cannot tell apart; dataset.mask_threshold=127.5",
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


def test_a_palette_of_black_and_white_goes_by_its_colours_unless_labels_are_named(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 1]], np.uint8), mode="P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png")[0][..., 0].tolist() == [[1, 0], [0, 0]]
    assert read_mask(tmp_path / "mask.png", Rule([1]))[0][..., 0].tolist() == [[0, 1], [1, 1]]


def test_a_mask_in_which_white_is_0_goes_by_what_is_white_and_has_no_labels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "mask.tif", np.where(SHAPE, 0, 255).astype(np.uint8), photometric="miniswhite")
    assert np.array_equal(read_mask(tmp_path / "mask.tif")[0][..., 0], SHAPE)
    with pytest.raises(UserError, match=r"mask\.tif: white is 0 in it, .* or \[0\], what is shown in black"):
        read_mask(tmp_path / "mask.tif", Rule([255]))


# Damage


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
        damaged[33] = content[33]  # the first byte of the length of a PNG's pixels, for which OpenCV takes memory
        path.write_bytes(damaged[: random.choice([len(content), int(random.integers(len(content)))])].tobytes())
        try:
            height, width, *_ = read_header(path)
            if height * width < 10**6:
                read_image(path, "uint8")
                read_mask(path, Rule([1]))
        except UserError as error:
            lines.append(str(error))
    assert len(lines) > 20
    assert not [line for line in lines if "\n" in line]
