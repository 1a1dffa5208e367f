"""Candidates for copies, found as the stage finds them, and in memory by the plainest code."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.pairs import collisions
from stages.pairs.collisions import AGREE, MOST_WHOLE, SAME_PLACE, VOTES
from stages.pairs.copies import Marks
from stages.pipeline.progress import Progress
from stages.pipeline.workers import workers


class Candidates(NamedTuple):
    """Pairs of images, (k, 2), in their order; their shifts, (k, 2), or NaN; hashes that were passed over."""

    images: np.ndarray
    shifts: np.ndarray
    crowds: int


def part_of(marks: Marks, start: int, stop: int) -> Marks:
    """The marks of some of the images."""
    first, last = np.searchsorted(marks.image, [start, stop])
    some, corners = slice(start, stop), slice(first, last)
    return Marks(
        marks.whole[some], marks.flat[some], marks.image[corners] - start, marks.place[corners], marks.corner[corners]
    )


def through_files(marks: Marks) -> Candidates:
    """What the stage finds."""
    count = len(marks.whole)
    with tempfile.TemporaryDirectory() as name, workers(None, int) as here, Progress("test", 1, "image") as progress:
        folder = Path(name)
        for start in range(0, count, collisions.BLOCK):
            collisions.write_marks(folder, start, part_of(marks, start, min(count, start + collisions.BLOCK)))
            assert collisions.are_marked(folder, start)
        paths, crowds = collisions.find_candidates(folder, count, here, progress)
        found = np.concatenate([np.empty(0, collisions.CANDIDATE), *map(np.load, paths)])
    found = found[np.lexsort(found["images"].T[::-1])]
    return Candidates(found["images"], found["shift"], crowds)


def in_memory(marks: Marks) -> Candidates:
    """What there is to find: all hashes are compared at once, and pairs of images are looked at one by one."""
    shown = np.flatnonzero(~marks.flat)
    found: dict[tuple[int, int], np.ndarray] = {}
    crowds = 0
    for part in marks.whole[shown].view("<u2").reshape(-1, 4).T:
        pairs, crowded = collisions_of(part)
        crowds += crowded
        for first, second in shown[pairs].tolist():
            if (int(marks.whole[first]) ^ int(marks.whole[second])).bit_count() <= MOST_WHOLE:
                found[first, second] = np.full(2, np.nan)
    votes: dict[tuple[int, int], set[tuple[int, int]]] = {}
    for part in np.ascontiguousarray(marks.corner).view("<u4").T:
        pairs, crowded = collisions_of(part)
        crowds += crowded
        for first, second in pairs.tolist():
            votes.setdefault((int(marks.image[first]), int(marks.image[second])), set()).add((first, second))
    for (first, second), corners in votes.items():
        if first != second and len(corners) >= VOTES:
            places = marks.place[sorted(corners)]
            shifts = places[:, 0] - places[:, 1]
            middle = np.median(shifts, axis=0)
            agreeing = places[(np.abs(shifts - middle) <= AGREE).all(axis=1), 0]
            if len(np.unique(agreeing // SAME_PLACE, axis=0)) >= VOTES:
                found[first, second] = middle
    images = sorted(found)
    shifts = np.array([found[pair] for pair in images]).reshape(-1, 2)
    return Candidates(np.array(images, np.int64).reshape(-1, 2), shifts, crowds)


def collisions_of(hashes: np.ndarray) -> tuple[np.ndarray, int]:
    """Pairs (k, 2) of places with equal hashes, the smaller first, and the number of hashes that too many share."""
    places: dict[int, list[int]] = {}
    for place, value in enumerate(hashes.tolist()):
        places.setdefault(value, []).append(place)
    groups = [group for group in places.values() if len(group) <= collisions.CROWD]
    return np.array([*pairs_of(groups)], np.int64).reshape(-1, 2), len(places) - len(groups)


def pairs_of(groups: list[list[int]]) -> Iterator[tuple[int, int]]:
    for group in groups:
        yield from ((first, second) for number, first in enumerate(group) for second in group[number + 1 :])
