"""Find images in files, and say which are left out.

Paths start below the folder, have `/` on any system and are sorted; so the same files give the same rows anywhere.
"""

import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from stages.datasets.shared.decode import ENDINGS
from stages.datasets.shared.raster import Header
from stages.pipeline.errors import UserError
from stages.pipeline.machine import cores
from stages.pipeline.stores import StoredPath

FILES_AT_ONCE = 16  # of a thread, before it takes others
READ = ", ".join(sorted(ENDINGS))
NOT_READ = f"not read, allowed are {READ}"
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
            advice = "; dataset.strict=false leaves such out" if len(broken) < len(files) else ""
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
    asked = Path(pattern).parts
    if asked[-1:] in ((), ("**",)):  # of folders; of files as well in some versions of Python, and in stores
        raise UserError(f"{pattern!r}: a pattern of folders, allowed are those of files, as '{pattern}/*'")
    try:
        paths = [*folder.glob(pattern)]
    except (ValueError, NotImplementedError) as error:
        raise UserError(f"{pattern!r}: {error}; allowed are glob patterns below {folder}, as 'images/*.png'") from None
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
        hidden = any(_is_hidden(part) and part not in asked for part in Path(name).parts)
        part = found.hidden if is_image and hidden else found.images if is_image else found.others
        part.append(name)
    _warn_of_case(folder, pattern, found.images)
    if "**" not in asked:
        found.folders.extend(_folders_below(folder, pattern, len(asked)))
    return Found(*map(sorted, found))


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "@eaDir"  # where Synology's disks keep thumbnails


def _warn_of_case(folder: Path, pattern: str, images: Sequence[str]) -> None:
    """Say that a pattern misses images by the case of their ending, as ``*.png`` a ``.PNG``."""
    ending = Path(pattern).suffix
    if ending.lower() not in ENDINGS:
        return
    alike = (path for path in folder.glob(f"{pattern.removesuffix(ending)}.*") if path.suffix != ending)
    names = [path.relative_to(folder) for path in alike if path.suffix.lower() == ending.lower() and path.is_file()]
    missed = {name.as_posix() for name in names if not any(map(_is_hidden, name.parts))}.difference(images)
    if missed:
        warn(f"{len(missed)} files end otherwise than {pattern!r} by their case alone, as {folder / min(missed)}")


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


def examine(check: Callable[[int], Result], count: int) -> list[Result]:
    """The results of a check of each of some files; several at once, since reading waits and decoders leave Python."""
    blocks = [range(start, min(start + FILES_AT_ONCE, count)) for start in range(0, count, FILES_AT_ONCE)]
    with ThreadPoolExecutor(4 * cores()) as threads:
        results = threads.map(lambda block: [check(place) for place in block], blocks)
        return [each for block in results for each in block]


def warn(line: str) -> None:
    """Print a warning where the stage shows its progress."""
    print(f"warning: {line}", file=sys.stderr, flush=True)


def refuse(line: str, way_out: str, strict: bool) -> None:
    """Raise an error that names the way out; or, if not ``strict``, warn of what is wrong."""
    if strict:
        raise UserError(line + way_out)
    warn(line)
