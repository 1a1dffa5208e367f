"""Candidates for copies among any number of images: those whose hashes collide, found in files and part by part.

What is found is written in runs: files sorted by a mixed key, by which a part of all keys is a range of each run. There
are so many parts that each fits into memory: of the keys, in which hashes collide, and of the pairs of images, in which
corners vote on a shift.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages.pairs.copies import Marks
from stages.pipeline.files import atomic_file
from stages.pipeline.progress import Progress
from stages.pipeline.workers import Workers

BLOCK = 512  # images whose marks lie in one file
BYTES = 10_000  # that the files of an image take, where images are small and many of their corners alike
PART_BYTES = 2**25  # of the runs; a worker holds a few times as much
PAIRS_AT_ONCE = 2**20  # of entries that collide; they make a run
CROWD = 64  # more images with one hash say nothing: a motif that repeats, as waves do
MOST_WHOLE = 6  # bits of a perceptual hash that may differ
VOTES = 3  # corners that have to agree on a shift
SAME_PLACE = 8  # pixels within which corners are one
AGREE = 3  # pixels by which the shifts of corners may differ
MIX = 0x9E3779B97F4A7C15  # odd, so that products with it, modulo 2^64, are as different as the factors
UNMIX = np.uint64(pow(MIX, -1, 2**64))
LOW = np.uint64(2**32 - 1)

WHOLE = np.dtype([("key", "u8"), ("image", "u4"), ("hash", "u8")])  # an entry is one of four parts of a hash
CORNER = np.dtype([("key", "u8"), ("image", "u4"), ("number", "u2")])  # one of eight; the corner's number in its image
PLACE = np.dtype([("image", "u4"), ("place", "f4", 2)])
PAIR = np.dtype([("key", "u8"), ("corners", "u4")])  # of two images; the numbers of two corners that collide
ENTIRE = 2**32 - 1  # in the place of corners, where whole images collide
CANDIDATE = np.dtype([("images", "i8", 2), ("shift", "f4", 2)])


class Part(NamedTuple):
    """A part of the keys of some runs: its number, and how many parts there are."""

    folder: Path
    runs: Sequence[Path]
    number: int
    parts: int


def write_marks(folder: Path, start: int, marks: Marks) -> None:
    """Write the marks of `BLOCK` images; may be called again, or in several processes.

    Parameters
    ----------
    folder : Path
        For all marks, and for what is found in them.
    start : int
        Number of the first image.
    marks : Marks
        Of the images that follow from there on.
    """
    shown = np.flatnonzero(~marks.flat)
    whole = _entries(WHOLE, marks.whole[shown].astype("<u8").view("<u2").reshape(-1, 4), start + shown)
    whole["hash"] = marks.whole[shown, None]
    corners = _entries(CORNER, np.ascontiguousarray(marks.corner).view("<u4"), start + marks.image)
    corners["number"] = (np.arange(len(marks.image)) - np.searchsorted(marks.image, marks.image))[:, None]
    places = np.empty(len(marks.image), PLACE)
    places["image"], places["place"] = start + marks.image, marks.place
    for name, entries in (("whole", whole), ("corners", corners)):
        entries = _sorted(entries.ravel())
        rank, _ = _ranks(entries["key"])
        _write(_run(folder, name, start), entries[rank <= CROWD])  # those beyond a crowd would be passed over
    _write(_run(folder, "places", start), places)


def are_marked(folder: Path, start: int) -> bool:
    """Tell whether the marks of a block of images are there whole."""
    try:
        for name in ("whole", "corners", "places"):
            np.load(_run(folder, name, start), mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return True


def find_candidates(folder: Path, count: int, workers: Workers[Any], progress: Progress) -> tuple[list[Path], int]:
    """Pairs of images whose hashes collide, the first before the second.

    Parameters
    ----------
    folder : Path
        With the marks of all images.
    count : int
        Number of images.

    Returns
    -------
    list of Path
        Files of arrays of `CANDIDATE`, each pair in one of them: two images, and their shift, NaN where only the whole
        hashes agree.
    int
        Hashes that were passed over, since too many images share them.
    """
    starts = range(0, count, BLOCK)
    parts = [
        part for name in ("whole", "corners") for part in _parts(folder, [_run(folder, name, at) for at in starts])
    ]
    progress.turn_to(len(parts), "part of the hashes")
    runs, crowds = [], 0
    for done, (found, crowded) in enumerate(workers.map(collide, parts), 1):
        runs += found
        crowds += crowded
        progress.show(done)
    parts = _parts(folder, runs)
    progress.turn_to(len(parts), "part of the pairs")
    paths = []
    for path in workers.map(vote, parts):
        paths.append(path)
        progress.show(len(paths))
    return paths, crowds


def collide(_: object, part: Part) -> tuple[list[Path], int]:
    """Write pairs of entries that collide; return their runs, and the number of keys that too many share."""
    entries = _sorted(_read(part))
    if not len(entries):
        return [], 0
    rank, sizes = _ranks(entries["key"])
    later = np.where(sizes <= CROWD, sizes - 1 - rank, 0)  # entries of the same key that follow
    ends = np.cumsum(later)
    cuts = [*np.searchsorted(ends, range(0, int(ends[-1]), PAIRS_AT_ONCE)).tolist(), len(entries)]
    runs = []
    for number, (low, high) in enumerate(pairwise(cuts)):
        counts = later[low:high]
        first = np.repeat(np.arange(low, high), counts)
        second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
        pairs = _pairs(entries[first], entries[second])
        if len(pairs):
            name = f"{part.runs[0].parent.name}-{part.number}-{number}.npy"
            runs.append(_write(part.folder / "pairs" / name, _sorted(pairs)))
    return runs, int(((rank == 0) & (sizes > CROWD)).sum())


def vote(_: object, part: Part) -> Path:
    """Write candidates: pairs of images whose whole hashes are alike, or of which corners agree on a shift."""
    pairs = _sorted(_read(part))
    entire = pairs["corners"] == ENTIRE
    pairs, entire = (each[entire | _are_many(pairs["key"])] for each in (pairs, entire))  # few; most collide by chance
    keys, shifts = _agreed(part.folder, pairs[~entire])
    keys = np.concatenate([keys, pairs["key"][entire]])
    shifts = np.concatenate([shifts, np.full((entire.sum(), 2), np.nan, np.float32)])
    keys, first = np.unique(keys, return_index=True)  # of both, that with a shift
    found = np.empty(len(keys), CANDIDATE)
    found["images"], found["shift"] = _images(keys), shifts[first]
    return _write(part.folder / "candidates" / f"{part.number}.npy", found)


def _pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pairs of those entries that are of two images, and if of whole ones, of hashes that differ in a few bits."""
    if first.dtype == WHOLE:
        kept = np.bitwise_count(first["hash"] ^ second["hash"]) <= MOST_WHOLE
    else:
        kept = first["image"] != second["image"]
    first, second = first[kept], second[kept]
    pairs = np.empty(len(first), PAIR)
    pairs["key"] = _mixed(first["image"], second["image"])
    pairs["corners"] = ENTIRE
    if first.dtype == CORNER:
        pairs["corners"] = first["number"].astype(np.uint32) << np.uint32(16) | second["number"]
    return pairs


def _agreed(folder: Path, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys of images of which several corners agree on a shift, and these shifts."""
    keys, owners = np.unique(pairs["key"], return_inverse=True)
    distinct = np.unique(owners << 32 | pairs["corners"])  # two corners can collide in several parts of their hashes
    group, numbers = distinct >> 32, np.stack([distinct >> 16 & 0xFFFF, distinct & 0xFFFF], axis=1)
    places = _places(folder, _images(keys)[group].ravel(), numbers.ravel()).reshape(-1, 2, 2)
    shifts = places[:, 0] - places[:, 1]
    middle = np.stack([_medians(along, group) for along in shifts.T], axis=1)
    agree = (np.abs(shifts - middle[group]) <= AGREE).all(axis=1)
    # A corner is found in several levels of the pyramid, which is one vote all the same.
    cells = np.column_stack([group[agree], places[agree, 0] // SAME_PLACE])
    votes = np.bincount(np.unique(cells, axis=0)[:, 0].astype(int), minlength=len(keys))
    return keys[votes >= VOTES], middle[votes >= VOTES]


def _places(folder: Path, images: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Rows and columns of some corners; float32, shape (n, 2)."""
    found = np.empty((len(images), 2), np.float32)
    order = np.argsort(images)
    blocks, firsts = np.unique(images[order] // BLOCK, return_index=True)
    for block, (low, high) in zip(blocks.tolist(), pairwise([*firsts.tolist(), len(order)]), strict=True):
        corners, asked = np.load(_run(folder, "places", block * BLOCK)), order[low:high]
        found[asked] = corners["place"][np.searchsorted(corners["image"], images[asked]) + numbers[asked]]
    return found


def _medians(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The median of each group; groups are numbered and follow each other."""
    values, counts = values[np.lexsort((values, group))], np.bincount(group)
    starts = np.cumsum(counts) - counts
    return np.asarray((values[starts + (counts - 1) // 2] + values[starts + counts // 2]) / 2)


def _entries(dtype: np.dtype, parts: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Entries of hashes, (n, k), for each of their parts: parts that stand in the same place can be equal."""
    entries = np.empty(parts.shape, dtype)
    entries["key"] = _mixed(np.arange(parts.shape[1]), parts)
    entries["image"] = images[:, None]
    return entries


def _mixed(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """A key of two numbers below 2^32, which its first bits depend on."""
    return np.asarray((high.astype(np.uint64) << np.uint64(32) | low.astype(np.uint64)) * np.uint64(MIX))


def _images(keys: np.ndarray) -> np.ndarray:
    """The images of keys of pairs; int64, shape (n, 2)."""
    both = keys * UNMIX
    return np.stack([both >> np.uint64(32), both & LOW], axis=1).astype(np.int64)


def _ranks(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of some sorted keys, how many of its kind stand before it, and how many there are."""
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    counts = np.diff(starts, append=len(keys))
    return np.arange(len(keys)) - np.repeat(starts, counts), np.repeat(counts, counts)


def _are_many(keys: np.ndarray) -> np.ndarray:
    """Tell of each of some sorted keys whether it stands there often enough to have the votes."""
    equal = keys[VOTES - 1 :] == keys[: 1 - VOTES]
    found = np.zeros(len(keys), bool)
    for first in range(VOTES):
        found[first : first + len(equal)] |= equal
    return found


def _sorted(entries: np.ndarray) -> np.ndarray:
    return entries[np.argsort(entries["key"], kind="stable")]


def _parts(folder: Path, runs: Sequence[Path]) -> list[Part]:
    count = 1 + sum(run.stat().st_size for run in runs) // PART_BYTES
    return [Part(folder, runs, number, count) for number in range(count)] if runs else []


def _read(part: Part) -> np.ndarray:
    """The entries of a part of the keys: of all runs, in the order of these."""
    low, high = (number * 2**64 // part.parts for number in (part.number, part.number + 1))
    return np.concatenate([*_ranges(part.runs, low, high)])


def _ranges(runs: Sequence[Path], low: int, high: int) -> Iterator[np.ndarray]:
    for run in runs:
        entries = np.asarray(np.load(run, mmap_mode="r"))
        first, last = (bisect_left(entries["key"], bound) for bound in (low, high))
        yield np.array(entries[first:last])


def _run(folder: Path, name: str, start: int) -> Path:
    return folder / name / f"{start}.npy"


def _write(path: Path, entries: np.ndarray) -> Path:
    with atomic_file(path) as file:
        np.save(file, entries)
    return path
