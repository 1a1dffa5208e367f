"""Generation of pairs on one core, writing included, against the article's `next_pair`, which writes nothing."""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from stages.datasets.ellipses import Ellipses
from stages.pairs.layout import Layout
from stages.pairs.write import create, finish, write_shard
from tests.benchmarks.plain import next_pair
from tests.benchmarks.turns import row, time_in_turns

PLAIN_PAIRS = 256
PAIRS = 4096
SIZE = 128


def measure() -> list[str]:
    layout = Layout(PAIRS, (SIZE, SIZE, 3), "uint8")
    source = Ellipses(layout, 1, 10, 20, "rectangle")

    def plain() -> tuple[np.ndarray, np.ndarray]:
        pairs = np.array([next_pair(SIZE) for _ in range(PLAIN_PAIRS)])
        return pairs[..., :3].copy(), pairs[..., 3:].copy()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.zarr"

        def ours() -> None:
            shutil.rmtree(path, ignore_errors=True)
            create(path, layout, {})
            shards = [
                write_shard(path, layout, shard, source.draw(layout.shard_range(shard)))
                for shard in range(layout.shard_count)
            ]
            finish(path, np.concatenate(shards))

        seconds = time_in_turns({"plain": plain, "ours": ours}, 7)
    plain_each, our_each = seconds["plain"] / PLAIN_PAIRS * 1e6, seconds["ours"] / PAIRS * 1e6
    return [row("generation of a pair on one core, ours with writing", plain_each, our_each, "µs")]
