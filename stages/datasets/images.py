"""Images in files: which there are, on which side of the split they fall, and reading them.

What the sources of files share. Paths are those below the folder, with `/` on any system, sorted; so the same files
give the same rows anywhere.
"""

import hashlib
import logging
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from stages import hardware
from stages.errors import UserError
from stages.params import DatasetParams

ENDINGS = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
JPEG, TIFF = {".jpg", ".jpeg"}, {".tif", ".tiff"}
CHANNELS = {"1": 1, "L": 1, "I;16": 1, "I;16B": 1, "I": 1, "P": 3, "RGB": 3, "RGBA": 4}  # by Pillow's mode
TOGETHER = 16  # files that a thread looks at before it takes others
ONE_CLASS = [{1}, {255}, {65535}]  # what a mask of one class holds beside 0

Found = TypeVar("Found")
File = TypeVar("File")


class Header(NamedTuple):
    """What the head of an image file says of it."""

    height: int
    width: int
    channels: int


def find(folder: Path, pattern: str) -> list[str]:
    """Image files below a folder that match a glob pattern, sorted.

    Raises
    ------
    UserError
        If the pattern is none, or one of the files lies outside of the folder, by ``..`` or by a link.
    """
    root = folder.resolve()
    found = []
    try:
        paths = [path for path in folder.glob(pattern) if path.suffix.lower() in ENDINGS and path.is_file()]
    except (ValueError, NotImplementedError) as error:
        raise UserError(f"{pattern!r}: {error}; allowed are glob patterns below {folder}, as 'images/*.png'") from None
    for path in paths:
        if not path.resolve().is_relative_to(root):
            raise UserError(f"{path}: leads out of {folder}, allowed are files in it")
        name = path.relative_to(folder).as_posix()
        if not name.isprintable():
            raise UserError(f"{str(path)!a}: allowed are names of printable characters, in UTF-8")
        found.append(name)
    return sorted(found)


def match(images: Sequence[str], masks: Sequence[str]) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """Pairs of an image and the mask of the same stem, images without a mask, and masks without an image.

    Raises
    ------
    UserError
        If two images or two masks have the same stem.
    """
    image_of, mask_of = _by_stem(images), _by_stem(masks)
    pairs = [(image, mask_of[stem]) for stem, image in image_of.items() if stem in mask_of]
    lonely = [image for stem, image in image_of.items() if stem not in mask_of]
    return pairs, lonely, [mask for stem, mask in mask_of.items() if stem not in image_of]


def _by_stem(paths: Sequence[str]) -> dict[str, str]:
    """Paths by what they are called without folder and ending."""
    found: dict[str, str] = {}
    for path in paths:
        stem = Path(path).stem
        if stem in found:
            raise UserError(f"{path} and {found[stem]} are both called {stem!r}; images and masks are matched by that")
        found[stem] = path
    return found


def side_of(item: str, paths: Sequence[str], options: DatasetParams) -> list[int]:
    """Places of the images that are for training, or for testing.

    Parameters
    ----------
    item : {"train", "test"}
        Which of the two.
    paths : sequence of str, shape (n,)
        Of all images.
    options : DatasetParams
        ``test_pattern`` or else ``test_share`` and ``split_seed``; ``group_pattern`` for what is not torn apart.

    Raises
    ------
    UserError
        If no image falls on that side, or one has no group.
    """
    testing = split(paths, options.test_share, options.split_seed, options.test_pattern, options.group_pattern)
    side = [place for place, tests in enumerate(testing) if tests == (item == "test")]
    if not side:
        key = "test_share" if options.test_pattern is None else "test_pattern"
        raise UserError(f"dataset.{key} is {getattr(options, key)!r}: of {len(paths)} images none is left to {item}")
    return side


def split(paths: Sequence[str], share: float, seed: int, pattern: str | None, group: str | None) -> list[bool]:
    """Which images are for testing.

    Parameters
    ----------
    paths : sequence of str, shape (n,)
        Of the images.
    share : float
        Of the groups, in [0, 1]; the nearest whole number of them.
    seed : int
        Of the draw.
    pattern : str, optional
        A regular expression: groups with an image whose path it is found in are for testing, whatever the share.
    group : str, optional
        A regular expression with one group, which names what is not to be torn apart: a patient, a scene, a flight.

    Returns
    -------
    list of bool, shape (n,)

    Raises
    ------
    UserError
        If an image has no such group.
    """
    groups = [_group_of(path, group) for path in paths]
    if pattern is not None:
        chosen = {name for name, path in zip(groups, paths, strict=True) if re.search(pattern, path)}
    else:
        # By a hash of its name most groups stay on their side when others come and go.
        names = sorted(set(groups), key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
        chosen = set(names[: round(share * len(names))])
    return [name in chosen for name in groups]


def _group_of(path: str, pattern: str | None) -> str:
    if pattern is None:
        return path
    found = re.search(pattern, path)
    if found is None or found[1] is None:
        raise UserError(f"dataset.group_pattern is {pattern!r}, allowed is one that finds its group in {path!r}, too")
    return found[1]


def look_at(look: Callable[[int], Found], count: int) -> list[Found]:
    """What a look at each of some files finds; several at once, since reading waits and decoders leave Python."""
    blocks = [range(start, min(start + TOGETHER, count)) for start in range(0, count, TOGETHER)]
    with ThreadPoolExecutor(4 * hardware.cores()) as threads:
        found = threads.map(lambda block: [look(place) for place in block], blocks)
        return [each for block in found for each in block]


def read_header(path: Path) -> Header:
    """What the head of an image file says of it.

    Raises
    ------
    UserError
        If it is broken, or of a kind that is not read.
    """
    from PIL import UnidentifiedImageError  # loaded where it is needed: not every source has files

    pillow = _pillow()
    try:
        if path.suffix.lower() in TIFF:
            return _read_tiff_header(path)
        with pillow.open(path) as image:
            if image.mode not in CHANNELS:
                raise UserError(f"{path}: mode {image.mode}, allowed are grey, RGB and RGBA")
            channels = 4 if image.mode in ("P", "RGB") and "transparency" in image.info else CHANNELS[image.mode]
            return Header(image.height, image.width, channels)
    except UnidentifiedImageError:
        raise UserError(f"{path}: broken image, or none") from None
    except (OSError, pillow.DecompressionBombError, ValueError, SyntaxError, LookupError) as error:
        raise _broken(path, error) from None


def _read_tiff_header(path: Path) -> Header:
    from tifffile import TiffFile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it says is raised, too
    try:
        with TiffFile(path) as file:
            page = file.pages[0].aspage()
            shape, palette, turned = page.shape, page.colormap is not None, page.tags.valueof("Orientation", 1)
    except Exception as error:  # tifffile raises many kinds for damaged files
        raise _broken(path, error) from None
    if turned != 1:
        raise UserError(f"{path}: orientation {turned}, allowed is 1: from the top left, row by row")
    if not all(isinstance(length, int) for length in shape):
        raise UserError(f"{path}: broken image, or none")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (3, 4)):
        raise UserError(f"{path}: axes of {shape}, allowed are grey, RGB and RGBA")
    return Header(shape[0], shape[1], shape[2] if len(shape) == 3 else 3 if palette else 1)


def read_image(path: Path, dtype: str) -> np.ndarray:
    """An image in the values that a set stores: uint8 as it is, float32 in [0, 1]; 16 bits are brought to that.

    Returns
    -------
    ndarray of uint8 or float32, shape (h, w, c)

    Raises
    ------
    UserError
        If it is broken or of another kind.
    """
    image = _read_plain_tiff(path) if path.suffix.lower() in TIFF else None
    if image is None:
        image = _read_by_open_cv(path)
    if image.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{path}: values of {image.dtype}, allowed are 8 and 16 bits")
    if image.ndim == 2:
        image = image[:, :, None]
    most = np.iinfo(image.dtype).max
    if dtype == "float32":
        return np.asarray(image.astype(np.float32) / np.float32(most))
    return np.asarray(image if most == 255 else (image.astype(np.uint32) + 128) // 257, np.uint8)


def _read_by_open_cv(path: Path) -> np.ndarray:
    cv2 = hardware.open_cv()
    content = np.frombuffer(_read_bytes(path), np.uint8)
    try:
        image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    except cv2.error as error:
        raise _broken(path, error) from None
    if image is None:
        raise UserError(f"{path}: broken image, or none")
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    return np.asarray(image)


def _read_plain_tiff(path: Path) -> np.ndarray | None:
    """The values of a TIFF in grey or in colours; other kinds are left to OpenCV.

    It would multiply colours of 8 bits by the fourth channel, and fill up with zeros what is damaged.
    """
    from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile

    try:
        with TiffFile(path) as file:
            page = file.pages[0].aspage()
            if page.bitspersample not in (8, 16) or page.photometric not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB):
                return None
            return page.asarray()
    except Exception as error:
        if "imagecodecs" not in str(error):  # which tifffile needs for LZW, and OpenCV does not
            raise _broken(path, error) from None
        if page.bitspersample == 8 and page.samplesperpixel == 4:
            kind = COMPRESSION(page.compression).name
            raise UserError(
                f"{path}: four channels of 8 bits in {kind}, allowed for these is Deflate or none"
            ) from None
        return None


def read_mask(path: Path, values: Sequence[int] | None) -> np.ndarray:
    """A mask: black and white, 0 and 1, or a label image; of one channel, or of several that are equal.

    Parameters
    ----------
    path : Path
        The file.
    values : sequence of int, optional
        Labels that belong to the mask; if not given, there must be one class alone.

    Returns
    -------
    ndarray of uint8, shape (h, w, 1)
        0 and 1.

    Raises
    ------
    UserError
        If it is broken, in colours, or of more than one class and no values are given.
    """
    labels = _read_labels(path, by_colour=values is None)
    if path.suffix.lower() in JPEG:  # which blurs the edges
        if values is not None:
            raise UserError(f"{path}: labels in a JPEG are blurred; dataset.mask_values needs another format")
        return _column(labels > 127)
    if values is not None:
        return _column(np.isin(labels, values))
    found = np.setdiff1d(labels, [0]).tolist()
    if found and set(found) not in ONE_CLASS:
        raise UserError(
            f"{path}: holds the values {', '.join(map(str, found[:5]))}{', …' if len(found) > 5 else ''} beside 0; "
            f"dataset.mask_values=[{found[0]}] or a longer list says which of them are the mask"
        )
    return _column(labels != 0)


def _column(mask: np.ndarray) -> np.ndarray:
    return mask.astype(np.uint8)[:, :, None]


def _read_labels(path: Path, by_colour: bool) -> np.ndarray:
    """The values of a mask; of one with a palette the numbers of its colours, unless these are asked for."""
    try:
        labels = _read_tiff_labels(path) if path.suffix.lower() in TIFF else _read_other_labels(path, by_colour)
    except UserError:
        raise
    except Exception as error:  # Pillow and tifffile raise many kinds for damaged files
        raise _broken(path, error) from None
    if labels.ndim not in (2, 3):
        raise UserError(f"{path}: broken image, or none")
    if labels.ndim == 3:
        colours = labels[:, :, :3] if labels.shape[2] in (3, 4) else labels[:, :, :1]
        if (colours != colours[:, :, :1]).any():
            raise UserError(f"{path}: a mask in colours, allowed is one channel, or several that are equal")
        labels = colours[:, :, 0]
    return labels.astype(np.uint8) if labels.dtype == bool else labels


def _read_tiff_labels(path: Path) -> np.ndarray:
    from tifffile import PHOTOMETRIC, TiffFile

    try:
        with TiffFile(path) as file:
            page = file.pages[0].aspage()
            if page.photometric == PHOTOMETRIC.MINISWHITE:
                raise UserError(f"{path}: white is 0 in it, allowed are masks in which it is the greatest value")
            return page.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        return _read_other_labels(path)  # tifffile needs that package for LZW, Pillow for none


def _read_other_labels(path: Path, by_colour: bool = False) -> np.ndarray:
    with _pillow().open(path) as image:
        if image.format == "BMP" and image.mode == "1":  # Pillow takes two colours for one bit, whatever the depth
            return read_image(path, "uint8")[:, :, 0] > 127
        if by_colour and image.mode == "P" and _is_black_and_white(image):
            image = image.convert("L")
        return np.asarray(image)


def _is_black_and_white(image: Any) -> bool:
    """Whether the pixels of an image with a palette have no other colours: then these count, and not their numbers."""
    colours = np.array(image.getpalette("RGB")).reshape(-1, 3)
    used = np.unique(np.asarray(image))
    return bool(used.max() < len(colours) and np.isin(colours[used].sum(axis=1), (0, 3 * 255)).all())


def require_promised(path: Path, image: np.ndarray, header: Header) -> None:
    """Raise if an image is not what its head says."""
    if image.shape != header:
        raise UserError(f"{path}: broken image: its head says {tuple(header)}, it holds {image.shape}")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


def _broken(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split()).replace(str(path), "the file")[:150] or type(error).__name__
    return UserError(f"{path}: broken image: {reason}")


def _pillow() -> Any:
    """Pillow's images; as large ones as OpenCV takes, since scenes from above are large."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = 2**30
    return Image


def without_broken(
    files: Sequence[File], found: Sequence[Header | UserError], strict: bool
) -> tuple[list[File], list[Header]]:
    """The files whose images are sound, and their heads; others are an error, or counted.

    Raises
    ------
    UserError
        If one is broken and ``strict``, or all of them are.
    """
    broken = [each for each in found if isinstance(each, UserError)]
    if broken and (strict or len(broken) == len(files)):
        more = f"; and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise UserError(f"{broken[0]}{more}" + ("; dataset.strict=false leaves such out" if strict else ""))
    if broken:
        warn(f"{len(broken)} of {len(files)} images left out: {broken[0]}{', …' if len(broken) > 1 else ''}")
    sound = [(file, each) for file, each in zip(files, found, strict=True) if isinstance(each, Header)]
    return [file for file, _ in sound], [header for _, header in sound]


def leave_out(paths: Sequence[str], why: str, folder: Path, strict: bool) -> None:
    """Say that some files are left out and why; an error if ``strict``."""
    if not paths:
        return
    more = f"; and {len(paths) - 1} more" if len(paths) > 1 else ""
    if strict:
        raise UserError(f"{folder / paths[0]}: {why}{more}; dataset.strict=false leaves such out")
    warn(f"{len(paths)} files left out: {folder / paths[0]}: {why}{', …' if more else ''}")


def warn(line: str) -> None:
    """Say what is left out, where the stage shows its progress."""
    print(f"warning: {line}", file=sys.stderr, flush=True)
