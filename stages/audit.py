"""Stage ``audit``: images that are copies of each other or overlap, within the pool, the test set, and between them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from stages.pairs import collisions
from stages.pairs.copies import joined, marks_of, overlap_of
from stages.pairs.layout import Origins
from stages.pairs.read import Pairs
from stages.pairs.tables import ORIGIN, write_csv
from stages.pipeline import paths
from stages.pipeline.checkpoints import Checkpoint, State, resumable
from stages.pipeline.disk import require_space
from stages.pipeline.entry import run
from stages.pipeline.errors import UserError
from stages.pipeline.files import atomic, write_json
from stages.pipeline.machine import count_from_environment
from stages.pipeline.params import load
from stages.pipeline.progress import Progress
from stages.pipeline.workers import Workers, workers

SETS = {"pool": paths.POOL, "test": paths.TEST}
HEADER = ["first_set", "first_row", "second_set", "second_row", "kind", "rows", "columns", "likeness"]
KINDS = ("exact", "near", "shifted")
WHERE = ("within_pool", "within_test", "across")
# Two images that share something: the place of its kind in KINDS, and how the images lie on each other.
LEAK = np.dtype([("images", "i8", 2), ("kind", "u1"), ("rows", "i4"), ("columns", "i4"), ("likeness", "f8")])
AT_ONCE = 64  # images that a worker reads, candidates that it compares


class Images:
    """The images of the pool and of the test set, counted on from one to the other."""

    def __init__(self, sets: dict[str, Pairs], files: Mapping[str, Origins | None] | None = None) -> None:
        self.sets = sets
        self.files = files or {}  # that they come from; workers need none
        self.starts = dict(zip(sets, np.cumsum([0, *map(len, sets.values())]).tolist(), strict=False))

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

    def file_numbers(self) -> np.ndarray:
        """A number for the file of each image, the same for files of one name; an image that comes from none has -1."""
        numbers: dict[str, int] = {}
        found = np.full(len(self), -1, np.int32)
        for name, origins in self.files.items():
            if origins is not None:
                files = np.array([numbers.setdefault(file[0], len(numbers)) for file in origins.files], np.int32)
                found[self.starts[name] :][: len(self.sets[name])] = files[origins.tiles[:, 0]]
        return found

    def checksums(self) -> np.ndarray:
        """A checksum of each image; different images can have the same."""
        return np.concatenate([pairs.image_checksums for pairs in self.sets.values()])


def main() -> None:
    """Write the copies and overlaps, pair by pair, and their numbers by kind."""
    params = load("audit")
    sets = {name: Pairs(path) for name, path in SETS.items()}
    _require_same_colors(*sets.values())
    images = Images(sets, {name: pairs.origins() for name, pairs in sets.items()})
    count = count_from_environment("TRAINCORE_WORKERS")
    inputs = {name: pairs.digest for name, pairs in sets.items()}
    with (
        resumable("audit", params, inputs, {}, keep=False) as saved,
        atomic(paths.LEAKS, paths.AUDIT_METRICS) as (table, metrics),
        workers(count, Images, sets) as crew,
        Progress("audit", len(images), "image") as progress,
    ):
        require_space(saved.folder, collisions.BYTES * len(images))
        _mark(images, crew, saved, progress)
        candidates, crowds = collisions.find_candidates(saved.folder, len(images), crew, progress)
        leaks, compared = find(images, candidates, params.audit.likeness, crew, progress)
        write_csv(table, _header(images), (_line(images, *leak.item()) for leak in leaks))
        write_json(
            metrics,
            {
                **summarize(images, leaks),
                "candidates": compared,
                "crowded_places": crowds,
                "seconds": saved.seconds(),
            },
        )


def _require_same_colors(pool: Pairs, test: Pairs) -> None:
    """Raise if palettes of the masks give a label two colours: what imports a set sees its own palettes alone."""
    of_pool, of_test = (pairs.attributes.get("colors", {}) for pairs in (pool, test))
    for label in sorted(of_pool.keys() & of_test.keys()):
        if of_pool[label] != of_test[label] and pool.attributes["parameters"]["strict"]:
            raise UserError(
                f"{test.path}: palettes of its masks give {label} the colour {of_test[label]}, those of "
                f"{pool.path} {of_pool[label]}; dataset.classes=all, or names with dataset.class_colors, go by the "
                "colours, dataset.strict=false by the numbers"
            )


def _mark(images: Images, crew: Workers[Images], saved: Checkpoint, progress: Progress) -> None:
    """Have the marks of all images written, but for those that an interrupted run has written."""
    starts = range(0, len(images), collisions.BLOCK)
    missing = [start for start in starts if not collisions.are_marked(saved.folder, start)]
    done = len(starts) - len(missing)
    if done:
        progress.go_on(min(done * collisions.BLOCK, len(images)))
    for _ in crew.map(_mark_block, [(saved.folder, start) for start in missing]):
        done += 1
        progress.show(min(done * collisions.BLOCK, len(images)))
        saved.save_if_due(lambda: State({}, {}))  # which keeps the time


def find(
    images: Images, candidates: Sequence[Path], likeness: float, crew: Workers[Images], progress: Progress
) -> tuple[np.ndarray, int]:
    """The copies and overlaps among some images.

    Parameters
    ----------
    candidates : sequence of Path
        From `find_candidates`.
    likeness : float
        Of two images that are called copies, the least.

    Returns
    -------
    ndarray of LEAK, shape (n,)
        In the order of the images.
    int
        Candidates that were compared.
    """
    files, first_of = images.file_numbers(), np.arange(len(images))
    exact = np.fromiter(_exact(images), LEAK)
    first_of[exact["images"][:, 1]] = exact["images"][:, 0]

    def of_two_files(found: np.ndarray) -> np.ndarray:
        of_each = files[found["images"]]  # tiles of one file may overlap as they were cut
        return np.asarray(found[(of_each[:, 0] != of_each[:, 1]) | (of_each[:, 0] < 0)])

    def asked(path: Path) -> np.ndarray:
        found = of_two_files(np.load(path))
        firsts = first_of[found["images"]]
        return np.asarray(found[firsts[:, 0] != firsts[:, 1]])

    def chunks() -> Iterator[np.ndarray]:
        for found in map(asked, candidates):
            yield from (found[start : start + AT_ONCE] for start in range(0, len(found), AT_ONCE))

    count, done = sum(len(asked(path)) for path in candidates), 0
    progress.turn_to(count, "candidate")
    leaks = [of_two_files(exact)]
    for compared in crew.map(_compare, chunks()):
        done += len(compared)
        progress.show(done)
        leaks.append(compared[compared["likeness"] >= likeness])
    found = np.concatenate(leaks)
    return found[np.lexsort(found["images"].T[::-1])], count


def _exact(images: Images) -> Iterator[tuple[tuple[int, int], int, int, int, float]]:
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
                yield (int(group[0]), number), KINDS.index("exact"), 0, 0, 1.0


def summarize(images: Images, leaks: np.ndarray) -> dict[str, object]:
    """Count the pairs of images that share something, by kind, and the test pairs that share it with the pool."""
    in_test = (leaks["images"] >= images.starts["test"]).T
    where = np.where(in_test[0] == in_test[1], in_test[0], WHERE.index("across"))
    counts = {
        name: {kind: int(((where == place) & (leaks["kind"] == number)).sum()) for number, kind in enumerate(KINDS)}
        for place, name in enumerate(WHERE)
    }
    return {**counts, "leaking_test_pairs": len(np.unique(leaks["images"][in_test[0] != in_test[1], 1]))}


def _header(images: Images) -> list[str]:
    if images.files["pool"] is None:
        return HEADER
    return [*HEADER, *(f"{which}_{name}" for which in ("first", "second") for name in ORIGIN)]


def _line(images: Images, pair: np.ndarray, kind: int, rows: int, columns: int, likeness: float) -> list[object]:
    first, second = pair.tolist()
    places = [*images.place(first), *images.place(second), KINDS[kind], rows, columns, round(likeness, 4)]
    return [*places, *images.file(first), *images.file(second)]


def _mark_block(images: Images, block: tuple[Path, int]) -> None:
    folder, start = block
    stop = min(start + collisions.BLOCK, len(images))
    some = (np.arange(at, min(at + AT_ONCE, stop)) for at in range(start, stop, AT_ONCE))
    collisions.write_marks(folder, start, joined([marks_of(images.read(numbers)) for numbers in some]))


def _compare(images: Images, candidates: np.ndarray) -> np.ndarray:
    """How the images of each candidate lie on each other, and how alike they are; NaN if they share too little."""
    found = np.zeros(len(candidates), LEAK)
    found["images"], found["likeness"] = candidates["images"], np.nan
    read = (images.read(numbers) for numbers in candidates["images"].T)
    for place, (one, other, shift) in enumerate(zip(*read, candidates["shift"], strict=True)):
        if overlap := overlap_of(one, other, None if np.isnan(shift).any() else shift):
            kind = "shifted" if max(abs(overlap.rows), abs(overlap.columns)) > 1 else "near"
            found[place] = (candidates["images"][place], KINDS.index(kind), *overlap)
    return found


if __name__ == "__main__":
    run("audit", main)
