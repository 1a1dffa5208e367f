"""The price of a Dask cluster: processor time of stage, scheduler and workers together, against the stage alone."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psutil

from tests.cluster import Cluster
from tests.project import environment, make_small_project, stage_command, succeed

WORKERS = (1, 2, 4, 8)
# The bar is so low that every pair passes: the walk is a single pass that certifies.
CHANGES = {
    "precision": 0.2,
    "tolerance": 0.01,
    "dataset": {"image_size": 64, "train_count": 10_000, "test_count": 10_000},
    "network": {"base_filters": 8},
    "seed_training": {"count": 11},
    "judge": {"folds": 0},
}
STAGES = ["generate train", "audit", "select", "evaluate"]
BEFORE = {"generate train": ["generate test"], "select": ["train_seed"], "evaluate": ["judge"]}


def measure() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        project = make_small_project(Path(folder), CHANGES)
        alone = {}
        for words in STAGES:
            for before in BEFORE.get(words, []):
                succeed(project, *stage_command(before), TRAINCORE_THREADS="1")
            alone[words] = _seconds(project, words)
        rows = []
        for count in WORKERS:
            with Cluster(project, count, Path(folder) / "log") as cluster:
                for words in STAGES:
                    taken = [_seconds(project, words, cluster) for _ in range(2)]
                    rows.append(
                        f"| {words}, {count} workers; started anew {taken[0]:.0f} s | {alone[words]:.0f} s | "
                        f"{taken[1]:.0f} s | {taken[1] / alone[words]:.2f}× |"
                    )
        return rows


def _seconds(project: Path, words: str, cluster: Cluster | None = None) -> float:
    """Processor time of a stage, user and system, with its workers'."""
    shutil.rmtree(project / ".traincore", ignore_errors=True)
    variables = {"TRAINCORE_SCHEDULER": cluster.address} if cluster else {}
    before = _of_cluster(cluster)
    process = subprocess.Popen(
        stage_command(words),
        cwd=project,
        env=environment(TRAINCORE_THREADS="1", **variables),
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, words
    return usage.ru_utime + usage.ru_stime + _of_cluster(cluster) - before


def _of_cluster(cluster: Cluster | None) -> float:
    found = 0.0
    for started in cluster.processes if cluster else ():
        parent = psutil.Process(started.pid)
        for process in (parent, *parent.children(recursive=True)):
            times = process.cpu_times()
            found += times.user + times.system
    return found
