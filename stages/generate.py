"""Stage ``generate``: draw or import the pairs of one set, train or test, into ``data/``."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages.datasets.shared.palettes import named_colors
from stages.datasets.shared.sense import require_sense
from stages.datasets.shared.source import Source, classes_of, open_source
from stages.datasets.shared.tally import Tally
from stages.datasets.shared.tiles import TileSource
from stages.pairs.layout import Layout
from stages.pairs.write import create, finish, write_shard, written_shard
from stages.pipeline import paths
from stages.pipeline.checkpoints import resumable
from stages.pipeline.disk import cannot_write, require_space
from stages.pipeline.entry import run
from stages.pipeline.errors import UserError
from stages.pipeline.files import PARTIAL, atomic, stamp, write_json
from stages.pipeline.machine import count_from_environment
from stages.pipeline.params import load
from stages.pipeline.progress import Progress
from stages.pipeline.stores import folder_at, require_unchanged
from stages.pipeline.workers import workers

SETS = {"train": paths.POOL, "test": paths.TEST}
METRICS = {"train": paths.POOL_METRICS, "test": paths.TEST_METRICS}


def main(item: str) -> None:
    """Write the training set, which is the pool, or the test set."""
    if item not in SETS:
        raise UserError(f"set is {item!r}, allowed are {', '.join(SETS)}")
    params = load("generate", item)
    options = params.dataset
    count = count_from_environment("TRAINCORE_WORKERS")
    folder = folder_at(options.path)
    files = stamp(folder)
    source = open_source(options, item)
    attributes: dict[str, Any] = {
        "dataset": options.name,
        "set": item,
        "parameters": options.model_dump(exclude_none=True),
    }
    if classes := classes_of(source):
        attributes["classes"] = [list(each) for each in classes]
    if isinstance(source, TileSource):
        attributes["values"] = source.values._asdict()
    with (
        resumable(f"generate@{item}", params, {"files": files}, {}) as saved,
        atomic(SETS[item], METRICS[item]) as (path, metrics),
    ):
        unfinished = saved.folder / "set.zarr"
        checksums, tally = _write_shards(source, unfinished, count, f"generate {item}")
        require_unchanged(folder)
        if stamp(folder) != files:  # DVC takes the digests of files once the stage is done
            raise UserError(f"{folder}: changed while it was read; the same command reads it anew")
        figures = {**tally.metrics(), "channels": source.layout.image_shape[2]}
        if isinstance(source, TileSource):
            require_sense(source, tally, item, options)
            if colors := named_colors(source, tally):
                attributes["colors"] = colors
            figures |= {"value_range": source.values.shown, "left_out": dict(source.left_out.counts)}
        for partial in unfinished.rglob(f"*{PARTIAL}"):  # of workers that were killed
            partial.unlink()
        create(unfinished, source.layout, attributes)
        finish(unfinished, checksums, origins=source.origins)
        try:
            shutil.copytree(unfinished, path, copy_function=_link)
        except shutil.Error as error:  # of all files; each is a path, a path and a reason
            raise cannot_write(error.args[0][0][2], source.layout.bytes, SETS[item]) from None
        write_json(metrics, figures)


def _link(source: str, target: str) -> None:
    """Give a file a second name; on a disk that knows no second names, copy it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write_shards(source: Source, path: Path, count: int, title: str) -> tuple[np.ndarray, Tally]:
    """Draw and write the shards that are not there yet in ``count`` processes; any number writes the same bytes.

    Returns
    -------
    ndarray of uint32, shape (n, 2)
        The checksums of the pairs.
    Tally
        Of their masks.
    """
    layout = source.layout
    shards = range(layout.shard_count)
    written = {shard: _written_shard(path, layout, shard) for shard in shards}
    found = {shard: both for shard, both in written.items() if both is not None}
    missing = [shard for shard in shards if shard not in found]
    done = sum(len(checksums) for checksums, _ in found.values())
    require_space(path, layout.bytes * (1 - done / layout.count))
    with (
        workers(max(1, min(count, len(missing))), _Drawing, source, path) as drawing,
        Progress(title, layout.count, "pair", layout.bytes) as progress,
    ):
        if done:
            progress.go_on(done)
        for shard, both in zip(missing, drawing.map(_write_shard, missing), strict=True):
            found[shard] = both
            done += len(both[0])
            progress.show(done)
    total = Tally()
    for shard in shards:
        total.add(found[shard][1])
    return np.concatenate([found[shard][0] for shard in shards]), total


class _Drawing(NamedTuple):
    """What a worker draws from, which is sent once, and not with each shard: it may know many files; and where to."""

    source: Source
    path: Path


def _write_shard(drawing: _Drawing, shard: int) -> tuple[np.ndarray, Tally]:
    source, path = drawing
    layout, rows = source.layout, source.layout.shard_range(shard)
    block, seen = source.draw_and_see(rows) if isinstance(source, TileSource) else (source.draw(rows), {})
    tally = Tally(len(rows)) if layout.kind == "labels" else Tally.of(block, seen, classes_of(source))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(_tally_path(path, shard), tally.plain())  # first, so that no shard is without it
    return write_shard(path, layout, shard, block), tally


def _written_shard(path: Path, layout: Layout, shard: int) -> tuple[np.ndarray, Tally] | None:
    """Checksums and tally of a shard that an earlier start has written; None if it has not, or not whole."""
    checksums = written_shard(path, layout, shard)
    try:
        tally = Tally.restored(json.loads(_tally_path(path, shard).read_text()))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return None if checksums is None else (checksums, tally)


def _tally_path(path: Path, shard: int) -> Path:
    return path.with_name(f"tally-{shard}.json")


if __name__ == "__main__":
    run("generate", lambda: main(sys.argv[1] if len(sys.argv) == 2 else ""))
