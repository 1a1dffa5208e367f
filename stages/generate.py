"""Stage ``generate``: draw or import the pairs of one set, train or test, into ``data/``."""

import os
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np

from stages import datasets, hardware, store
from stages.checkpoints import checkpoint
from stages.entry import processes, run, whole
from stages.errors import UserError
from stages.params import load
from stages.progress import Progress

_source: datasets.Source  # of a worker process


def main(item: str) -> None:
    """Write ``data/{item}.zarr``."""
    if item not in ("train", "test"):
        raise UserError(f"set is {item!r}, allowed are train, test")
    params = load("generate", item)
    options = params.dataset
    workers = hardware.count_from_environment("TRAINCORE_WORKERS")
    source = datasets.source(options, item)
    attributes = {"dataset": options.name, "set": item, "parameters": options.model_dump(exclude_none=True)}
    target = Path(f"data/{item}.zarr")
    with (
        checkpoint(f"generate@{item}", params, {}, {}) as saved,
        whole(target) as (path,),
    ):
        unfinished = saved.folder / "set.zarr"
        checksums = _write_shards(source, unfinished, workers, f"generate {item}")
        store.create(unfinished, source.layout, attributes)
        store.finish(unfinished, checksums, origins=source.origins)
        shutil.copytree(unfinished, path, copy_function=_link)


def _link(source: str, target: str) -> None:
    """Give a file a second name; where that cannot be, copy it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write_shards(source: datasets.Source, path: Path, workers: int, title: str) -> np.ndarray:
    """Draw and write the shards that are not there yet, over several processes; any number writes the same bytes.

    Returns
    -------
    ndarray of uint32, shape (n, 2)
        The checksums of the pairs.
    """
    layout = source.layout
    shards = range(layout.shard_count)
    written = {shard: store.written_shard(path, layout, shard) for shard in shards}
    found = {shard: checksums for shard, checksums in written.items() if checksums is not None}
    missing = [shard for shard in shards if shard not in found]
    done = sum(map(len, found.values()))
    hardware.require_space(path, layout.bytes * (1 - done / layout.count))
    with (
        processes(max(1, min(workers, len(missing))), _start, source) as pool,
        Progress(title, layout.count, "pair") as progress,
    ):
        if done:
            progress.go_on(done)
        for shard, checksums in zip(missing, pool.map(partial(_write_shard, path), missing), strict=True):
            found[shard] = checksums
            done += len(checksums)
            progress.show(done)
    return np.concatenate([found[shard] for shard in shards])


def _start(source: datasets.Source) -> None:
    """Have a worker draw from a source, which may know many files: once, not with each shard."""
    global _source
    _source = source


def _write_shard(path: Path, shard: int) -> np.ndarray:
    layout = _source.layout
    return store.write_shard(path, layout, shard, _source.draw(layout.shard_range(shard)))


if __name__ == "__main__":
    run("generate", lambda: main(sys.argv[1] if len(sys.argv) == 2 else ""))
