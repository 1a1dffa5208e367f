"""Pictures of pairs and of predictions: PNG files, and thumbnails for the report."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stages.drawing.colors import (
    KINDS,
    KINDS_OF_CLASSES,
    as_rgb,
    comparison_as_rgb,
    mask_as_rgb,
    outlined,
    rgb,
)
from stages.pairs.layout import Block, PixelClass

PANEL = 128  # pixels across an image of a sheet
GAP = 4  # pixels of white between images
TEXT = 13  # pixels of height
TITLE_PIXELS = 132  # least width of a title
LEGEND = "each time: image, mask, prediction, and pixels that are"
LEGEND_PIXELS = 960
WIDEST = 1400  # pixels across a montage
LEAST = 24  # pixels across an image in it


def draw_pairs(path: Path, block: Block, titles: Sequence[str], classes: Sequence[PixelClass] = ()) -> None:
    """Draw images and below each its mask. A label stands in the title instead.

    Parameters
    ----------
    path : Path
        The picture, a PNG file.
    block : Block
        The pairs.
    titles : sequence of str
        A title for each image.
    classes : sequence of PixelClass
        Of the pixels of masks; none for masks of 0 and 1.
    """
    if block.targets.ndim == 2:
        cells = [[as_rgb(image)] for image in block.images]
        titles = [f"{title}, class {label}" for title, (label,) in zip(titles, block.targets.tolist(), strict=True)]
    else:
        cells = [
            [as_rgb(image), mask_as_rgb(mask, classes)] for image, mask in zip(block.images, block.targets, strict=True)
        ]
    sheet = _sheet([np.concatenate(_framed(parts), axis=0) for parts in cells], titles, across=10)
    _explained(sheet, "", _named(classes)).save(path, optimize=True)


def draw_predictions(
    path: Path, block: Block, predictions: np.ndarray, titles: Sequence[str], classes: Sequence[PixelClass] = ()
) -> None:
    """Draw images, their masks, the predicted masks, and the kinds of pixels. Labels stand in the titles instead.

    Parameters
    ----------
    path : Path
        The picture, a PNG file.
    block : Block
        The pairs.
    predictions : ndarray, shape (n, h, w, 1) or (n, classes)
        Probabilities, or the classes of pixels.
    titles : sequence of str
        A title for each image.
    classes : sequence of PixelClass
        Of the pixels of masks; none for masks of 0 and 1.
    """
    if predictions.ndim == 2:
        said = [f"{title}, said {row.argmax()}" for title, row in zip(titles, predictions, strict=True)]
        draw_pairs(path, block, said)
        return
    cells = [
        [
            as_rgb(image),
            mask_as_rgb(mask, classes),
            mask_as_rgb(predicted, classes),
            comparison_as_rgb(mask, predicted, classes),
        ]
        for image, mask, predicted in zip(block.images, block.targets, predictions, strict=True)
    ]
    sheet = _sheet([np.concatenate(_framed(parts), axis=1) for parts in cells], titles, across=2)
    sheet = _explained(sheet, LEGEND, KINDS_OF_CLASSES if classes else KINDS)
    _explained(sheet, "", _named(classes)).save(path, optimize=True)


def draw_masks(
    path: Path,
    images: Sequence[tuple[np.ndarray, np.ndarray]],
    titles: Sequence[str],
    classes: Sequence[PixelClass] = (),
) -> None:
    """Draw images of any size and beside each its predicted mask.

    Parameters
    ----------
    path : Path
        The picture, a PNG file.
    images : sequence of (ndarray, ndarray)
        Images, uint8 or float32 of shape (h, w, c), and of shape (h, w, 1) probabilities or classes.
    titles : sequence of str
        A title for each image.
    classes : sequence of PixelClass
        Of the pixels; none for masks of 0 and 1.
    """
    cells = [
        np.concatenate(_framed([as_rgb(image), mask_as_rgb(predicted, classes)]), axis=1) for image, predicted in images
    ]
    _explained(_sheet(cells, titles, across=4), "", _named(classes)).save(path, optimize=True)


def draw_montage(
    path: Path, blocks: Iterable[Block], shape: tuple[int, int, int], across: int | None = None, widest: int = WIDEST
) -> None:
    """Draw many images close together, in rows from left to right, with the edges of their masks.

    Parameters
    ----------
    path : Path
        The picture, a PNG or JPEG file.
    blocks : iterable of Block
        The pairs.
    shape : tuple of int
        Their number, and the height and width of an image.
    across : int, optional
        Images in a row; by default as many as make a square.
    widest : int
        Greatest width in pixels. Images are made smaller for it, but not smaller than `LEAST`.
    """
    count, height, width = shape
    across = across or int(np.ceil(np.sqrt(count * height / width)))
    factor = min(1.0, max(LEAST / max(height, width), widest / (across * (width + 1))))
    high, wide = max(1, round(height * factor)), max(1, round(width * factor))
    down = -(-count // across)
    sheet = np.full((down * (high + 1), across * (wide + 1), 3), 255, np.uint8)
    pairs = chain.from_iterable(zip(block.images, block.targets, strict=True) for block in blocks)
    for number, (image, target) in enumerate(pairs):
        drawn = as_rgb(image) if target.ndim == 1 else outlined(image, target)
        small = np.asarray(Image.fromarray(drawn).resize((wide, high), Image.Resampling.BOX))
        top, left = number // across * (high + 1), number % across * (wide + 1)
        sheet[top : top + high, left : left + wide] = small
    Image.fromarray(sheet).save(path, optimize=True, quality=75)  # the quality of a JPEG; a PNG has none


def thumbnail(image: np.ndarray, size: int) -> str:
    """Data URL of a smaller image in WebP.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w, 3)
    size : int
        Greatest height and width in pixels.
    """
    picture = Image.fromarray(image)
    picture.thumbnail((size, size))
    return _as_url(picture, quality=70)


def embedded(path: Path) -> dict[str, Any]:
    """Data URL of a picture in WebP, a fifth of the bytes of its PNG file, and its width and height in pixels."""
    with Image.open(path) as picture:
        return {
            "url": _as_url(picture.convert("RGB"), quality=80),
            "width": picture.width,
            "height": picture.height,
        }


def _as_url(picture: Image.Image, quality: int) -> str:
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=quality)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"


def _framed(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Images (h, w, 3) scaled to about `PANEL` pixels, with a little white at the right and below."""
    height, width = parts[0].shape[:2]
    longest = max(height, width)
    factor = max(1, PANEL // longest) if longest <= PANEL else PANEL / longest
    size = max(1, round(width * factor)), max(1, round(height * factor))
    how = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BOX
    scaled = [np.asarray(Image.fromarray(part).resize(size, how)) for part in parts]
    return [np.pad(part, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for part in scaled]


def _sheet(cells: Sequence[np.ndarray], titles: Sequence[str], across: int) -> Image.Image:
    """Images of any size in rows from left to right, each below its title."""
    font = ImageFont.load_default(TEXT)
    across = min(across, len(cells))
    high, wide = (max(cell.shape[axis] for cell in cells) for axis in (0, 1))
    wide = max(wide, TITLE_PIXELS)
    line = TEXT + 2 * GAP
    sheet = Image.new("RGB", (across * (wide + GAP), -(-len(cells) // across) * (high + line)), "white")
    drawing = ImageDraw.Draw(sheet)
    for number, (cell, title) in enumerate(zip(cells, titles, strict=True)):
        top, left = number // across * (high + line), number % across * (wide + GAP)
        drawing.text((left, top + GAP // 2), _shortened(title, font, wide), "black", font)
        sheet.paste(Image.fromarray(cell), (left, top + line))
    return sheet


def _shortened(text: str, font: Any, width: int) -> str:
    """The longest end of a text that fits into a width in pixels."""
    if font.getlength(text) <= width:
        return text
    return "…" + next(text[start:] for start in range(1, len(text) + 1) if font.getlength("…" + text[start:]) <= width)


def _named(classes: Sequence[PixelClass]) -> dict[str, tuple[int, int, int]]:
    """Colours of classes by their names."""
    return {each.name: rgb(each.color) for each in classes}


def _explained(sheet: Image.Image, words: str, colors: Mapping[str, tuple[int, int, int]]) -> Image.Image:
    """A sheet with a line below it that explains the colours of pixels, or several lines; as it is, without colours."""
    if not colors:
        return sheet
    font = ImageFont.load_default(TEXT)
    width = max(sheet.width, LEGEND_PIXELS)
    places, left, line = [], (2.5 * TEXT if words else 0) + font.getlength(words), 0
    for name in colors:
        needed = 4.5 * TEXT + font.getlength(name)
        if left + needed > width and left:
            left, line = 0.0, line + 1
        places.append((left, sheet.height + TEXT + 2 * TEXT * line))
        left += needed
    taller = Image.new("RGB", (width, sheet.height + (2 * line + 3) * TEXT), "white")
    taller.paste(sheet, (0, 0))
    drawing = ImageDraw.Draw(taller)
    drawing.text((0, sheet.height + TEXT - 1), words, "black", font)
    for (x, y), (name, color) in zip(places, colors.items(), strict=True):
        drawing.rectangle((x, y, x + 2 * TEXT, y + TEXT), color, "grey")
        drawing.text((x + 2.5 * TEXT, y - 1), name, "black", font)
    return taller
