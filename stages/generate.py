"""Stage ``generate``: draw or import the pairs of one set, train or test, into ``data/``."""

import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import numpy as np

from stages import datasets, store
from stages.entry import run, whole
from stages.errors import UserError
from stages.hardware import count_from_environment
from stages.params import load
from stages.progress import Progress


def main(item: str) -> None:
    """Write ``data/{item}.zarr``."""
    if item not in ("train", "test"):
        raise UserError(f"set is {item!r}, allowed are train, test")
    options = load("generate", item).dataset
    workers = count_from_environment("TRAINCORE_WORKERS")
    source = datasets.source(options, item)
    attributes = {"dataset": options.name, "set": item, "parameters": options.model_dump()}
    with whole(Path(f"data/{item}.zarr")) as (path,):
        store.create(path, source.layout, attributes)
        store.finish(path, _write_shards(source, path, workers, f"generate {item}"))


def _write_shards(source: datasets.Source, path: Path, workers: int, title: str) -> np.ndarray:
    """Draw and write all shards, over several processes; any number of them writes the same bytes.

    Returns
    -------
    ndarray of uint32, shape (n, 2)
        The checksums of the pairs.
    """
    layout = source.layout
    work = partial(_write_shard, source, path)
    shards = range(layout.shard_count)
    columns = []
    with (
        ProcessPoolExecutor(min(workers, layout.shard_count)) as processes,
        Progress(title, layout.count, "pair") as progress,
    ):
        try:
            for shard, checksums in zip(shards, processes.map(work, shards), strict=True):
                columns.append(checksums)
                progress.show(layout.shard_range(shard).stop)
        except BrokenProcessPool:
            raise UserError(
                f"a worker process was killed, most often for lack of memory: {workers} were at work, "
                "environment variable TRAINCORE_WORKERS=1 needs least"
            ) from None
    return np.concatenate(columns)


def _write_shard(source: datasets.Source, path: Path, shard: int) -> np.ndarray:
    block = source.draw(source.layout.shard_range(shard))
    return store.write_shard(path, source.layout, shard, block)


if __name__ == "__main__":
    run("generate", lambda: main(sys.argv[1] if len(sys.argv) == 2 else ""))
