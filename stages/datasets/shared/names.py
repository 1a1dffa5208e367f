"""Match images with their masks, or with what annotations say of them, by their names.

A path starts below the folder and has ``/`` on any system.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from stages.datasets.shared.decode import ENDINGS
from stages.datasets.shared.find import warn
from stages.pipeline.errors import UserError

# What programs put behind the name of an image to name its mask, as Carvana's a_mask.gif and CamVid's a_L.png.
MASK_SUFFIX = re.compile(
    r"[ _-](mask|masks|label|labels|gt|seg|segmentation|groundtruth|(?-i:L)"
    r"|gt(fine|coarse)_(labelids|labeltrainids|color))$",
    re.IGNORECASE,
)
IMAGE_SUFFIX = "_leftImg8bit"  # of Cityscapes, where its masks have such a one


def match(images: Sequence[str], masks: Sequence[str]) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """Pairs of an image and the mask of its name, images without a mask, and masks without an image.

    The names are those without folder and ending; that of a mask may go on behind that of its image: with the image's
    ending, or as ``_mask``, ``_label``, ``_gt``, ``_seg``. If none fits, they match by what differs in them, if all do.
    If names repeat, they do by what differs in their paths, as ``images/a/1`` and ``masks/a/1``.

    Raises
    ------
    UserError
        If two images have the same name, or two masks are of one image, and their paths do not tell them apart.
    """
    repeated: list[str] = []
    image_of: dict[str, str] = {}
    for path in images:
        _put(image_of, stem_of(path), path, repeated)
    mask_of: dict[str, str] = {}
    for path in masks:
        _put(mask_of, image_name_of(path, image_of), path, repeated)
    if repeated:
        image_of, mask_of = (_by_difference(paths, _own_parts(paths)) for paths in (images, masks))
        if image_of.keys().isdisjoint(mask_of) or (len(image_of), len(mask_of)) != (len(images), len(masks)):
            raise UserError(f"{repeated[0]}; images and masks are matched by that, or by what differs in their paths")
    pairs = [(path, mask_of[name]) for name, path in image_of.items() if name in mask_of]
    if repeated:
        warn(f"names repeat; by what differs in their paths {pairs[0][1]} is that of {pairs[0][0]}")
    elif not pairs and (pairs := _match_by_difference(images, masks)):
        warn(f"no mask has the name of an image; by what differs in their names {pairs[0][1]} is that of {pairs[0][0]}")
        return pairs, [], []
    lonely = [path for name, path in image_of.items() if name not in mask_of]
    return pairs, lonely, [path for name, path in mask_of.items() if name not in image_of]


def _match_by_difference(images: Sequence[str], masks: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs by what is left of the names without how all images, and all masks, begin and end; none, unless all fit.

    As ``21_training`` and ``21_manual1``.
    """
    if min(len(images), len(masks)) < 2:
        return []
    of_images, of_masks = (_by_difference(paths, [*map(stem_of, paths)]) for paths in (images, masks))
    fit = len(of_images) == len(images) and len(of_masks) == len(masks) and of_images.keys() == of_masks.keys()
    return [(path, of_masks[name]) for name, path in of_images.items()] if fit else []


def _own_parts(paths: Sequence[str]) -> list[str]:
    """Paths without ending, and without the folders and names that all of them have."""
    parts = [PurePosixPath(unicodedata.normalize("NFC", path)).with_suffix("").parts for path in paths]
    common = set.intersection(*map(set, parts))
    return ["/".join(part for part in each if part not in common) for each in parts]


def _by_difference(paths: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Paths by what is left of some names of theirs without how all of them begin and end."""
    begin = _alike(names)
    end = _alike([name[begin:][::-1] for name in names])
    return {name[begin : len(name) - end]: path for name, path in zip(names, paths, strict=True)}


def _alike(texts: Sequence[str]) -> int:
    """How many characters some texts have in common, from their beginning on; a number is not cut in two."""
    first, last = min(texts), max(texts)
    same = next((place for place, both in enumerate(zip(first, last, strict=False)) if len({*both}) > 1), len(first))
    return len(first[:same].rstrip("0123456789"))


def stem_of(path: str) -> str:
    """Name of a file without folder and ending; the same for each way in which Unicode can write it."""
    return unicodedata.normalize("NFC", Path(path).stem)


def image_name_of(mask: str, images: dict[str, str]) -> str:
    """The name of the image that a mask belongs to; its own, if there is none."""
    stem = stem_of(mask)
    names = (name for shorter in _shorter(stem) for name in (shorter, shorter + IMAGE_SUFFIX))
    return next((name for name in names if name in images), stem)


def _shorter(stem: str) -> Iterator[str]:
    yield stem
    if Path(stem).suffix.lower() in ENDINGS:
        yield from _shorter(Path(stem).stem)
    if MASK_SUFFIX.search(stem):
        yield from _shorter(MASK_SUFFIX.sub("", stem))


def _put(found: dict[str, str], stem: str, path: str, repeated: list[str]) -> None:
    if found.setdefault(stem, path) != path:
        repeated.append(f"{path} and {found[stem]} are both called {stem!r}")


def by_name(paths: Sequence[str]) -> dict[str, list[str]]:
    """Files by the names that they can have in the annotations: their path, after a slash, and each end of it."""
    files: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        parts = unicodedata.normalize("NFC", path).split("/")
        files["/" + "/".join(parts)].append(path)
        for start in range(len(parts)):
            files["/".join(parts[start:])].append(path)
    return files


def lookup(name: str, files: Mapping[str, list[str]]) -> list[str]:
    """Files that an image may have by its name: the whole path is better than an end, and that than the last part."""
    path = PurePosixPath(unicodedata.normalize("NFC", name.replace("\\", "/")))
    return next((files[each] for each in (f"/{path}", str(path), path.name) if each in files), [])


def is_path_of(name: str, path: str) -> bool:
    """Whether the name of an image is the path of a file or an end of it, as far as it names folders at all."""
    parts = PurePosixPath(unicodedata.normalize("NFC", name.replace("\\", "/"))).parts
    return parts == PurePosixPath(unicodedata.normalize("NFC", path)).parts[-len(parts) :] or len(parts) == 1
