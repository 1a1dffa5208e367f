"""Read a set of pairs: rows in any order, each verified by its checksum."""

import copy
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.pairs import shards
from stages.pairs.check import (
    check_shards,
    read_attributes,
    read_checksums_of_set,
    read_column,
    read_layout,
    read_origins,
    read_pixel_classes,
    restorable,
)
from stages.pairs.layout import COMPRESSION, IGNORED, Block, Origins, PixelClass, arrays_of, has_foreground, shard_path
from stages.pairs.tables import ORIGIN, read_rows, read_table
from stages.pipeline.errors import UserError


class Pairs:
    """A set of pairs opened for reading.

    Parameters
    ----------
    path : Path
        The set.

    Attributes
    ----------
    order : ndarray of int64, shape (n,)
        The row at each position; all rows as they stand, unless `in_order` says otherwise.

    Raises
    ------
    UserError
        If there is no such set, or it is not one that this version reads.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with restorable(path):
            self.attributes = read_attributes(path)
            self.layout = read_layout(path)
            check_shards(path, self.layout)
            self._checksums = read_checksums_of_set(path, self.layout.count)
        self._indexes: dict[tuple[str, int], np.ndarray] = {}
        self.order = np.arange(self.layout.count)

    def __len__(self) -> int:
        return len(self.order)

    def in_order(self, rows: np.ndarray) -> "Pairs":
        """The same set with positions that count some of its rows."""
        pairs = copy.copy(self)
        pairs.order = rows
        return pairs

    @property
    def digest(self) -> str:
        """A digest of the content: of the layout and the checksums."""
        return self.digest_of(self.layout.count)

    def digest_of(self, count: int) -> str:
        """The digest of a set that holds the first rows alone."""
        layout = replace(self.layout, count=count)
        return hashlib.sha256(repr(layout).encode() + self._checksums[:count].tobytes()).hexdigest()

    @property
    def classes(self) -> list[PixelClass]:
        """The classes of pixels, the background first; none for masks of 0 and 1, and for labels."""
        with restorable(self.path):
            return read_pixel_classes(self.path, self.attributes, self.layout)

    @property
    def image_checksums(self) -> np.ndarray:
        """CRC-32C of the images of all rows as they are stored; uint32, shape (n,)."""
        return self._checksums[:, 0]

    def origins(self) -> Origins | None:
        """The files that the rows come from, if they come from files.

        Raises
        ------
        UserError
            If the tables of files are damaged.
        """
        if not any((self.path / name).exists() for name in ("tiles", "files")):
            return None
        with restorable(self.path):
            return read_origins(self.path, self.layout.count)

    def rows_in(self, table: Path) -> np.ndarray:
        """The rows that a table names, or none; the rest is as of `stages.pairs.tables.read_rows`."""
        says_origin = any({*ORIGIN} & {*line} for line in read_table(table, most=1))
        return read_rows(table, self.layout.count, 0, self.origins() if says_origin else None)

    def rows_of_source(self) -> np.ndarray:
        """Rows of the set that this one was taken from, a row a pair; int64, shape (n,)."""
        with restorable(self.path):
            return read_column(self.path / "rows", (self.layout.count,), "int64")

    def read(self, positions: Sequence[int] | np.ndarray) -> Block:
        """Some pairs, in the order asked for.

        Parameters
        ----------
        positions : sequence of int, shape (n,)
            Which pairs.

        Returns
        -------
        Block
            images (n, h, w, c) as stored, targets uint8: masks (n, h, w, 1) or labels (n, 1).

        Raises
        ------
        UserError
            If a pair is damaged or missing on disk.
        """
        return self.read_rows(self.order[np.asarray(positions, dtype=np.int64)])

    def read_rows(self, rows: np.ndarray) -> Block:
        """Some pairs by their rows, as `read` gives them by their positions in the order."""
        block = Block(*(np.empty((len(rows), *shape), dtype) for _, shape, dtype in arrays_of(self.layout)))
        with restorable(self.path):
            for column, (name, _, _) in enumerate(arrays_of(self.layout)):
                self._fill(name, column, rows, block[column])
            self._require_classes(block.targets)
        return block

    def with_foreground(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Which pairs have foreground, all of them where they have labels; bool, shape (n,)."""
        if self.layout.kind == "labels":
            return np.ones(len(positions), bool)
        return np.array([has_foreground(self.read([position]).targets)[0] for position in positions], bool)

    def stream(self, blocks: Iterable[Sequence[int] | np.ndarray]) -> Iterator[Block]:
        """Pairs block by block, the next block read while the last one is used."""
        return prefetch(lambda block=block: self.read(block) for block in blocks)  # type: ignore[misc]

    def _fill(self, name: str, column: int, rows: np.ndarray, out: np.ndarray) -> None:
        shard_of = rows // self.layout.shard_rows
        for shard in np.unique(shard_of):
            places = np.flatnonzero(shard_of == shard)
            chunks = shards.read_chunks(
                shard_path(self.path, name, int(shard)),
                self._index(name, int(shard)),
                (rows[places] % self.layout.shard_rows).tolist(),
                self._checksums[rows[places], column].tolist(),
                COMPRESSION[name],
                out.itemsize * math.prod(out.shape[1:]),
            )
            for place, raw in zip(places, chunks, strict=True):
                out[place] = np.frombuffer(raw, out.dtype).reshape(out.shape[1:])

    def _require_classes(self, targets: np.ndarray) -> None:
        """Raise if a target is of no class that there is."""
        classes = self.layout.classes
        if classes is None or targets.max(initial=0) < classes:
            return
        wrong = targets[(targets >= classes) & ((targets != IGNORED) | (self.layout.kind == "labels"))]
        if len(wrong):
            raise UserError(f"{self.path / self.layout.target}: damaged: class {wrong[0]} of {classes} classes")

    def _index(self, name: str, shard: int) -> np.ndarray:
        if (name, shard) not in self._indexes:
            path = shard_path(self.path, name, shard)
            self._indexes[name, shard] = shards.read_index(path, self.layout.shard_rows)
        return self._indexes[name, shard]


def prefetch(reads: Iterable[Callable[[], Block]]) -> Iterator[Block]:
    """Results of some calls in their order, each made on a second thread while the one before is used."""
    with ThreadPoolExecutor(1) as thread:
        ahead: Future[Block] | None = None
        for read in reads:
            ready, ahead = ahead, thread.submit(read)
            if ready:
                yield ready.result()
        if ahead:
            yield ahead.result()
