"""Stage ``generate``: draw or import the pairs of one set, train or test, into ``data/``."""

import os
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np

from stages.datasets.shared.source import Source, open_source
from stages.pairs.write import create, finish, write_shard, written_shard
from stages.pipeline import paths
from stages.pipeline.checkpoints import resumable
from stages.pipeline.disk import require_space
from stages.pipeline.entry import run
from stages.pipeline.errors import UserError
from stages.pipeline.files import atomic, stamp
from stages.pipeline.machine import count_from_environment
from stages.pipeline.params import load
from stages.pipeline.processes import worker_processes
from stages.pipeline.progress import Progress

SETS = {"train": paths.POOL, "test": paths.TEST}

_source: Source  # of a worker process


def main(item: str) -> None:
    """Write the training set, which is the pool, or the test set."""
    if item not in SETS:
        raise UserError(f"set is {item!r}, allowed are {', '.join(SETS)}")
    params = load("generate", item)
    options = params.dataset
    count = count_from_environment("TRAINCORE_WORKERS")
    source = open_source(options, item)
    attributes = {"dataset": options.name, "set": item, "parameters": options.model_dump(exclude_none=True)}
    inputs = {"files": stamp(Path(options.path))}
    with (
        resumable(f"generate@{item}", params, inputs, {}) as saved,
        atomic(SETS[item]) as (path,),
    ):
        unfinished = saved.folder / "set.zarr"
        checksums = _write_shards(source, unfinished, count, f"generate {item}")
        create(unfinished, source.layout, attributes)
        finish(unfinished, checksums, origins=source.origins)
        shutil.copytree(unfinished, path, copy_function=_link)


def _link(source: str, target: str) -> None:
    """Give a file a second name; on a disk that knows no second names, copy it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write_shards(source: Source, path: Path, count: int, title: str) -> np.ndarray:
    """Draw and write the shards that are not there yet in ``count`` processes; any number writes the same bytes.

    Returns
    -------
    ndarray of uint32, shape (n, 2)
        The checksums of the pairs.
    """
    layout = source.layout
    shards = range(layout.shard_count)
    written = {shard: written_shard(path, layout, shard) for shard in shards}
    found = {shard: checksums for shard, checksums in written.items() if checksums is not None}
    missing = [shard for shard in shards if shard not in found]
    done = sum(map(len, found.values()))
    require_space(path, layout.bytes * (1 - done / layout.count))
    with (
        worker_processes(max(1, min(count, len(missing))), _start, source) as workers,
        Progress(title, layout.count, "pair") as progress,
    ):
        if done:
            progress.go_on(done)
        for shard, checksums in zip(missing, workers.map(partial(_write_shard, path), missing), strict=True):
            found[shard] = checksums
            done += len(checksums)
            progress.show(done)
    return np.concatenate([found[shard] for shard in shards])


def _start(source: Source) -> None:
    """Have a worker process draw from a source, which is sent once, and not with each shard: it may know many files."""
    global _source
    _source = source


def _write_shard(path: Path, shard: int) -> np.ndarray:
    layout = _source.layout
    return write_shard(path, layout, shard, _source.draw(layout.shard_range(shard)))


if __name__ == "__main__":
    run("generate", lambda: main(sys.argv[1] if len(sys.argv) == 2 else ""))
