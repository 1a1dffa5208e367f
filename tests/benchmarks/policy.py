"""Core and test score in float32 and in bfloat16, several seeds each: does the precision policy change the result?"""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean

from stages.pipeline.machine import cores
from tests.project import make_small_project, metrics, succeed

POLICIES = ("float32", "mixed_bfloat16")
SEEDS = (0, 1, 2, 3, 4, 5)
PARAMS = {
    "dataset": {"image_size": 64, "train_count": 400, "test_count": 1000},
    "network": {"base_filters": 8},
    "select": {"strategy": "first_failure"},
}


def measure() -> list[str]:
    runs = [(policy, seed) for policy in POLICIES for seed in SEEDS]
    with ThreadPoolExecutor(cores()) as processes:
        results = dict(zip(runs, processes.map(_run, runs), strict=True))
    rows = []
    for number, what in enumerate(("pairs chosen of 400 (64×64, 8 filters)", "test score")):
        plain, ours = ([results[policy, seed][number] for seed in SEEDS] for policy in POLICIES)
        for policy, values in zip(POLICIES, (plain, ours), strict=True):
            print(f"{policy}: {what}: {values}")
        texts = [f"{mean(values):.4g} ({min(values):.4g} … {max(values):.4g})" for values in (plain, ours)]
        rows.append(
            f"| {what}, seeds {SEEDS}: float32, bfloat16 | {' | '.join(texts)} | {mean(plain) / mean(ours):.2f}× |"
        )
    return rows


def _run(case: tuple[str, int]) -> tuple[int, float]:
    """Size of the core and test score of the whole pipeline."""
    policy, seed = case
    with tempfile.TemporaryDirectory() as folder:
        changes = {**PARAMS, "training": {"precision_policy": policy, "seed": seed}}
        project = make_small_project(Path(folder), changes)
        succeed(project, "dvc", "repro", TRAINCORE_THREADS="1")  # a network this small is quickest on one thread
        return metrics(project, "select")["selected"], metrics(project, "evaluate")["test"]["score"]
