"""Stage ``audit``: images that are copies of each other or overlap, within the pool, the test set, and between them."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np

from stages.pairs import copies
from stages.pairs.copies import Marks, Overlap
from stages.pairs.read import Pairs
from stages.pairs.tables import ORIGIN, write_csv
from stages.pipeline import paths
from stages.pipeline.checkpoints import Checkpoint, State, resumable
from stages.pipeline.entry import run
from stages.pipeline.files import atomic, write_json
from stages.pipeline.machine import count_from_environment
from stages.pipeline.params import load
from stages.pipeline.progress import Progress
from stages.pipeline.workers import Workers, workers

SETS = {"pool": paths.POOL, "test": paths.TEST}
HEADER = ["first_set", "first_row", "second_set", "second_row", "kind", "rows", "columns", "likeness"]
KINDS = ("exact", "near", "shifted")
IMAGES_AT_ONCE = 256  # read by a worker process
CANDIDATES_AT_ONCE = 64  # compared by it


class Images:
    """The images of the pool and of the test set, counted on from one to the other."""

    def __init__(self, sets: dict[str, Pairs]) -> None:
        self.sets = sets
        self.starts = dict(zip(sets, np.cumsum([0, *map(len, sets.values())]).tolist(), strict=False))
        self.files = {name: pairs.origins() for name, pairs in sets.items()}

    def __len__(self) -> int:
        return sum(map(len, self.sets.values()))

    def place(self, number: int) -> tuple[str, int]:
        """The set and the row of an image."""
        name = [name for name, start in self.starts.items() if start <= number][-1]
        return name, number - self.starts[name]

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Some images, as they are stored."""
        found = np.empty((len(numbers), *self.sets["pool"].layout.image_shape), self.sets["pool"].layout.dtype)
        for name, pairs in self.sets.items():
            of_set = (numbers >= self.starts[name]) & (numbers < self.starts[name] + len(pairs))
            found[of_set] = pairs.read(numbers[of_set] - self.starts[name]).images
        return found

    def file(self, number: int) -> list[object]:
        """The file of an image, and its row and column there; nothing if it comes from none."""
        name, row = self.place(number)
        origins = self.files[name]
        if origins is None:
            return []
        file, *place = origins.tiles[row].tolist()
        return [origins.files[file][0], *place]

    def checksums(self) -> np.ndarray:
        """A checksum of each image; different images can have the same."""
        return np.concatenate([pairs.image_checksums for pairs in self.sets.values()])


class Leak(NamedTuple):
    """Two images that share something: the kind of that, and how the images lie on each other."""

    first: int
    second: int
    kind: str
    overlap: Overlap


def main() -> None:
    """Write the copies and overlaps, pair by pair, and their numbers by kind."""
    params = load("audit")
    sets = {name: Pairs(path) for name, path in SETS.items()}
    images = Images(sets)
    count = count_from_environment("TRAINCORE_WORKERS")
    inputs = {name: pairs.digest for name, pairs in sets.items()}
    with (
        resumable("audit", params, inputs, {}, keep=False) as saved,
        atomic(paths.LEAKS, paths.AUDIT_METRICS) as (table, metrics),
        workers(count, Images, sets) as marking,
    ):
        with Progress("audit", len(images), "image") as progress:
            marks = _mark(images, marking, saved, progress)
            leaks, compared, crowds = find(images, marks, params.audit.likeness, marking, progress)
        write_csv(table, _header(images), (_line(images, leak) for leak in leaks))
        write_json(
            metrics,
            {
                **summarize(images, leaks),
                "candidates": compared,
                "crowded_places": crowds,
                "seconds": saved.seconds(),
            },
        )


def _mark(images: Images, marking: Workers[Images], saved: Checkpoint, progress: Progress) -> Marks:
    """The marks of all images, some of them from the checkpoint of an interrupted run."""
    starts = range(0, len(images), IMAGES_AT_ONCE)
    blocks = [range(start, min(start + IMAGES_AT_ONCE, len(images))) for start in starts]
    parts = [Marks(**saved.found.arrays)] if saved.found else []
    done = saved.found.plain["blocks"] if saved.found else 0
    for count, part in enumerate(marking.map(_marks_of, blocks[done:]), done + 1):
        parts.append(part)
        progress.show(blocks[count - 1].stop)
        saved.save_if_due(partial(_state, count, parts))
    return copies.joined(parts)


def _state(blocks: int, parts: list[Marks]) -> State:
    return State({"blocks": blocks}, copies.joined(parts)._asdict())


def find(
    images: Images, marks: Marks, likeness: float, marking: Workers[Images], progress: Progress
) -> tuple[list[Leak], int, int]:
    """The copies and overlaps among some images.

    Returns
    -------
    list of Leak
        In the order of the images.
    int
        Candidates that were compared.
    int
        Hashes that were passed over, since too many images share them.
    """
    exact = list(_exact(images))
    first_of = {leak.second: leak.first for leak in exact}
    found = copies.candidates(marks)
    asked = [
        place
        for place, (first, second) in enumerate(found.images.tolist())
        if first_of.get(first, first) != first_of.get(second, second) and not _of_one_image(images, first, second)
    ]
    progress.turn_to(len(asked), "candidate")
    leaks = [leak for leak in exact if not _of_one_image(images, leak.first, leak.second)]
    chunks = [asked[start : start + CANDIDATES_AT_ONCE] for start in range(0, len(asked), CANDIDATES_AT_ONCE)]
    compared = marking.map(_compare, ((found.images[chunk], found.shifts[chunk]) for chunk in chunks))
    done = 0
    for chunk, overlaps in zip(chunks, compared, strict=True):
        done += len(chunk)
        progress.show(done)
        for (first, second), overlap in zip(found.images[chunk].tolist(), overlaps, strict=True):
            if overlap and overlap.likeness >= likeness:
                shifted = max(abs(overlap.rows), abs(overlap.columns)) > 1
                leaks.append(Leak(first, second, "shifted" if shifted else "near", overlap))
    return sorted(leaks), len(asked), found.crowds


def _exact(images: Images) -> Iterator[Leak]:
    """Images that are the same to the last bit, each with the first of them; images of one colour are left out."""
    checksums = images.checksums()
    order = np.argsort(checksums, kind="stable")
    _, starts, counts = np.unique(checksums[order], return_index=True, return_counts=True)
    for start, count in zip(starts[counts > 1].tolist(), counts[counts > 1].tolist(), strict=True):
        group = order[start : start + count]
        first = images.read(group[:1])[0]
        if (first == first[0, 0]).all():  # one colour: nothing that could be shared
            continue
        for number in group[1:].tolist():
            if np.array_equal(images.read(np.array([number]))[0], first):
                yield Leak(int(group[0]), number, "exact", Overlap(0, 0, 1.0))


def _of_one_image(images: Images, first: int, second: int) -> bool:
    """Tell whether two tiles are of the same file, in which they may overlap as they were cut."""
    files = images.file(first), images.file(second)
    return bool(files[0] and files[1] and files[0][0] == files[1][0])


def summarize(images: Images, leaks: list[Leak]) -> dict[str, object]:
    """Count the pairs of images that share something, by kind, and the test pairs that share it with the pool."""
    counts: Counter[tuple[str, str]] = Counter()
    leaking = set()
    for leak in leaks:
        sets = [images.place(number)[0] for number in (leak.first, leak.second)]
        where = "across" if sets[0] != sets[1] else f"within_{sets[0]}"
        counts[where, leak.kind] += 1
        if where == "across":
            leaking.add(leak.second)
    places = ("within_pool", "within_test", "across")
    return {
        **{where: {kind: counts[where, kind] for kind in KINDS} for where in places},
        "leaking_test_pairs": len(leaking),
    }


def _header(images: Images) -> list[str]:
    if images.files["pool"] is None:
        return HEADER
    return [*HEADER, *(f"{which}_{name}" for which in ("first", "second") for name in ORIGIN)]


def _line(images: Images, leak: Leak) -> list[object]:
    places = chain(images.place(leak.first), images.place(leak.second))
    overlap = [leak.overlap.rows, leak.overlap.columns, round(leak.overlap.likeness, 4)]
    return [*places, leak.kind, *overlap, *images.file(leak.first), *images.file(leak.second)]


def _marks_of(images: Images, block: range) -> Marks:
    return copies.marks_of(images.read(np.array(block)))


def _compare(images: Images, candidates: tuple[np.ndarray, np.ndarray]) -> list[Overlap | None]:
    pairs, shifts = candidates
    first, second = images.read(pairs[:, 0]), images.read(pairs[:, 1])
    return [
        copies.overlap_of(one, other, None if np.isnan(shift).any() else shift)
        for one, other, shift in zip(first, second, shifts, strict=True)
    ]


if __name__ == "__main__":
    run("audit", main)
