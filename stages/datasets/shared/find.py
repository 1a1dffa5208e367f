"""Find images in files, match them with their masks, and say which are left out.

Paths start below the folder, have `/` on any system and are sorted; so the same files give the same rows anywhere.
"""

import itertools
import os
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

from stages.datasets.shared.decode import ENDINGS
from stages.datasets.shared.raster import Header
from stages.pipeline.errors import UserError
from stages.pipeline.machine import cores
from stages.pipeline.stores import StoredPath

FILES_AT_ONCE = 16  # of a thread, before it takes others
READ = ", ".join(sorted(ENDINGS))
NOT_READ = f"not read, allowed are {READ}"
# What programs put behind the name of an image to name its mask, as Carvana's a_mask.gif and CamVid's a_L.png.
MASK_SUFFIX = re.compile(
    r"[ _-](mask|masks|label|labels|gt|seg|segmentation|groundtruth|(?-i:L)"
    r"|gt(fine|coarse)_(labelids|labeltrainids|color))$",
    re.IGNORECASE,
)
IMAGE_SUFFIX = "_leftImg8bit"  # of Cityscapes, where its masks have such a one
Result = TypeVar("Result")
File = tuple[str, ...]  # an image, and its mask if that is a file


class Found(NamedTuple):
    """Files that match a pattern, sorted: images, hidden files, and files of endings that are not read.

    And folders that match it and hold images, which it does not reach.
    """

    images: list[str]
    hidden: list[str]
    others: list[str]
    folders: list[str]


@dataclass
class LeftOut:
    """An account of the files that are left out, and why; if ``strict``, the first one is an error.

    Attributes
    ----------
    folder : Path
        The folder that their paths start from.
    strict : bool
        Whether a fault ends the stage.
    counts : Counter of str
        Files by the reason.
    """

    folder: Path
    strict: bool
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, paths: Sequence[str], why: str) -> None:
        """Leave out some files that have the same fault.

        Raises
        ------
        UserError
            If ``strict``.
        """
        if not paths:
            return
        line = f"{self.folder / paths[0]}: {why}"
        if self.strict:
            raise UserError(f"{line}{_more(paths)}; dataset.strict=false leaves such out")
        self.counts[why] += len(paths)
        warn(f"{len(paths)} files left out: {line}{', …' if len(paths) > 1 else ''}")

    def skip(self, paths: Sequence[str], why: str) -> None:
        """Leave out some files that nobody means as images, strict or not."""
        if paths:
            self.counts[why] += len(paths)
            warn(f"{len(paths)} files skipped: {self.folder / paths[0]}: {why}{', …' if len(paths) > 1 else ''}")

    def broken(self, files: Sequence[File], results: Sequence[Header | UserError]) -> tuple[list[File], list[Header]]:
        """Leave out files that are broken; the sound ones, and their heads.

        Raises
        ------
        UserError
            If one is broken and ``strict``, or all of them are.
        """
        broken = [each for each in results if isinstance(each, UserError)]
        if broken and (self.strict or len(broken) == len(files)):
            advice = "; dataset.strict=false leaves such out" if self.strict else ""
            raise UserError(f"{broken[0]}{_more(broken)}{advice}")
        if broken:
            self.counts["broken, or a mask that does not fit"] += len(broken)
            warn(f"{len(broken)} of {len(files)} images left out: {broken[0]}{', …' if len(broken) > 1 else ''}")
        sound = [(file, each) for file, each in zip(files, results, strict=True) if isinstance(each, Header)]
        return [file for file, _ in sound], [header for _, header in sound]

    def odd(self, files: Sequence[File], headers: Sequence[Header]) -> tuple[list[File], list[Header]]:
        """Leave out files whose images have other channels than most; the rest, and their heads.

        Raises
        ------
        UserError
            If there are any and ``strict``.
        """
        (usual, _), *_ = Counter(header.channels for header in headers).most_common(1)
        kept = [place for place, header in enumerate(headers) if header.channels == usual]
        odd = [place for place, header in enumerate(headers) if header.channels != usual]
        if odd:
            why = f"{headers[odd[0]].channels} channels, most images have {usual}, as {files[kept[0]][0]}"
            self.add([files[place][0] for place in odd], why)
        return [files[place] for place in kept], [headers[place] for place in kept]


def _more(of: Sequence[object]) -> str:
    return f"; and {len(of) - 1} more" if len(of) > 1 else ""


def find_files(folder: Path, pattern: str) -> Found:
    """Files below a folder that match a glob pattern.

    Raises
    ------
    UserError
        If the pattern is none, or one of the images lies outside of the folder, by ``..`` or by a link.
    """
    root = folder.resolve()
    found = Found([], [], [], [])
    try:
        paths = [*folder.glob(pattern)]
    except (ValueError, NotImplementedError) as error:
        raise UserError(f"{pattern!r}: {error}; allowed are glob patterns below {folder}, as 'images/*.png'") from None
    asked = Path(pattern).parts
    if "**" in asked and not isinstance(folder, StoredPath):
        _require_no_linked_folder(folder, asked)
    for path in paths:
        if path.is_symlink() and not path.exists():
            raise UserError(f"{path}: a link that leads nowhere")
        if not path.is_file():
            continue
        is_image = path.suffix.lower() in ENDINGS
        if is_image and not path.resolve().is_relative_to(root):
            raise UserError(f"{path}: leads out of {folder}, allowed are files in it")
        name = path.relative_to(folder).as_posix()
        if is_image and not name.isprintable():
            raise UserError(f"{str(path)!a}: allowed are names of printable characters, in UTF-8")
        hidden = any(part.startswith(".") and part not in asked for part in Path(name).parts)
        part = found.hidden if is_image and hidden else found.images if is_image else found.others
        part.append(name)
    if "**" not in asked:
        found.folders.extend(_folders_below(folder, pattern, len(asked)))
    return Found(*map(sorted, found))


def _folders_below(folder: Path, pattern: str, depth: int) -> set[str]:
    """Folders that match a pattern of so many parts and hold images, but for those that programs make."""
    images = (path for path in folder.glob(f"{pattern}/**/*") if path.suffix.lower() in ENDINGS)
    parts = (path.relative_to(folder).parts[:depth] for path in images)
    return {"/".join(each) for each in parts if not any(part.startswith((".", "@", "__")) for part in each)}


def _require_no_linked_folder(folder: Path, pattern: tuple[str, ...]) -> None:
    """Raise if ``**``, which follows no links, passes over a folder that is one."""
    before = pattern[: pattern.index("**")]
    starts = sorted(folder.glob("/".join(before))) if before else [folder]
    for place, folders, _ in itertools.chain.from_iterable(map(os.walk, starts)):
        for linked in (Path(place, name) for name in sorted(folders)):
            if linked.is_symlink() and any(path.suffix.lower() in ENDINGS for path in linked.rglob("*")):
                raise UserError(
                    f"{linked}: a link to a folder, which ** does not follow; a pattern with * for each folder does, "
                    "as 'images/*/*'"
                )


def match(images: Sequence[str], masks: Sequence[str]) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """Pairs of an image and the mask of its name, images without a mask, and masks without an image.

    The names are those without folder and ending; that of a mask may go on behind that of its image: with the image's
    ending, or as ``_mask``, ``_label``, ``_gt``, ``_seg``.

    Raises
    ------
    UserError
        If two images have the same name, or two masks are of one image.
    """
    image_of: dict[str, str] = {}
    for path in images:
        _put(image_of, stem_of(path), path)
    mask_of: dict[str, str] = {}
    for path in masks:
        _put(mask_of, image_name_of(path, image_of), path)
    pairs = [(image, mask_of[stem]) for stem, image in image_of.items() if stem in mask_of]
    lonely = [image for stem, image in image_of.items() if stem not in mask_of]
    return pairs, lonely, [mask for stem, mask in mask_of.items() if stem not in image_of]


def match_by_difference(images: Sequence[str], masks: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs by what is left of the names without how all images, and all masks, begin and end; none, unless all fit.

    As ``21_training`` and ``21_manual1``.
    """
    if min(len(images), len(masks)) < 2:
        return []
    left: list[dict[str, str]] = []
    for paths in (images, masks):
        stems = [stem_of(path) for path in paths]
        begin = _alike(stems)
        end = _alike([stem[begin:][::-1] for stem in stems])
        left.append({stem[begin : len(stem) - end]: path for stem, path in zip(stems, paths, strict=True)})
    of_images, of_masks = left
    fit = len(of_images) == len(images) and len(of_masks) == len(masks) and of_images.keys() == of_masks.keys()
    return [(path, of_masks[name]) for name, path in of_images.items()] if fit else []


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


def _put(found: dict[str, str], stem: str, path: str) -> None:
    if stem in found:
        raise UserError(f"{path} and {found[stem]} are both called {stem!r}; images and masks are matched by that")
    found[stem] = path


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


def examine(check: Callable[[int], Result], count: int) -> list[Result]:
    """The results of a check of each of some files; several at once, since reading waits and decoders leave Python."""
    blocks = [range(start, min(start + FILES_AT_ONCE, count)) for start in range(0, count, FILES_AT_ONCE)]
    with ThreadPoolExecutor(4 * cores()) as threads:
        results = threads.map(lambda block: [check(place) for place in block], blocks)
        return [each for block in results for each in block]


def warn(line: str) -> None:
    """Print a warning where the stage shows its progress."""
    print(f"warning: {line}", file=sys.stderr, flush=True)
