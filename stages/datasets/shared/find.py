"""Find images in files, match them with their masks, and say which are left out.

Paths start below the folder, have `/` on any system and are sorted; so the same files give the same rows anywhere.
"""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from stages.datasets.shared.image import Header
from stages.pipeline.errors import UserError
from stages.pipeline.machine import cores

ENDINGS = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
FILES_AT_ONCE = 16  # of a thread, before it takes others
Result = TypeVar("Result")
File = TypeVar("File")


def find_files(folder: Path, pattern: str) -> list[str]:
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


def match_by_stem(images: Sequence[str], masks: Sequence[str]) -> tuple[list[tuple[str, str]], list[str], list[str]]:
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
    """Paths by their names without folder and ending."""
    found: dict[str, str] = {}
    for path in paths:
        stem = Path(path).stem
        if stem in found:
            raise UserError(f"{path} and {found[stem]} are both called {stem!r}; images and masks are matched by that")
        found[stem] = path
    return found


def examine(check: Callable[[int], Result], count: int) -> list[Result]:
    """The results of a check of each of some files; several at once, since reading waits and decoders leave Python."""
    blocks = [range(start, min(start + FILES_AT_ONCE, count)) for start in range(0, count, FILES_AT_ONCE)]
    with ThreadPoolExecutor(4 * cores()) as threads:
        results = threads.map(lambda block: [check(place) for place in block], blocks)
        return [each for block in results for each in block]


def without_broken(
    files: Sequence[File], results: Sequence[Header | UserError], strict: bool
) -> tuple[list[File], list[Header]]:
    """The files whose images are sound, and their heads; others are an error, or counted in a line.

    Raises
    ------
    UserError
        If one is broken and ``strict``, or all of them are.
    """
    broken = [each for each in results if isinstance(each, UserError)]
    if broken and (strict or len(broken) == len(files)):
        more = f"; and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise UserError(f"{broken[0]}{more}" + ("; dataset.strict=false leaves such out" if strict else ""))
    if broken:
        warn(f"{len(broken)} of {len(files)} images left out: {broken[0]}{', …' if len(broken) > 1 else ''}")
    sound = [(file, each) for file, each in zip(files, results, strict=True) if isinstance(each, Header)]
    return [file for file, _ in sound], [header for _, header in sound]


def leave_out(paths: Sequence[str], why: str, folder: Path, strict: bool) -> None:
    """Say that some files are left out and why; raise if ``strict``."""
    if not paths:
        return
    more = f"; and {len(paths) - 1} more" if len(paths) > 1 else ""
    if strict:
        raise UserError(f"{folder / paths[0]}: {why}{more}; dataset.strict=false leaves such out")
    warn(f"{len(paths)} files left out: {folder / paths[0]}: {why}{', …' if more else ''}")


def warn(line: str) -> None:
    """Print a warning where the stage shows its progress."""
    print(f"warning: {line}", file=sys.stderr, flush=True)
