"""A Dask cluster does the work by parts, and nobody can tell from the bytes; what fails there ends in a line."""

import asyncio
import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from distributed.comm import CommClosedError
from hypothesis import given
from hypothesis import strategies as st

from stages.learning import speculation
from stages.learning.speculation import Part, Speculation
from stages.pipeline import cluster, workers
from stages.pipeline.errors import UserError
from tests.cluster import Cluster, wait_for
from tests.project import SMALL, copied, make_small_project, merged, stage_command, succeed

STAGES = ["generate train", "generate test", "audit", "train_seed", "select", "judge", "evaluate"]
# Enough blocks that some are predicted ahead, and a walk that ends in a long scan.
CHANGES = {
    "dataset": {"train_count": 500, "test_count": 300, "interference": "none"},
    "precision": 0.2,
    "tolerance": 0.1,
    "select": {"pick_to_learn": {"max_passes": 2}},
}
BY_PARTS = ["generate train", "audit", "select", "evaluate"]
ENVIRONMENT = {"TRAINCORE_THREADS": "1", "TRAINCORE_CHECKPOINT_SECONDS": "0"}


def contents(project: Path) -> dict[str, bytes]:
    """What the stages wrote, without their seconds."""
    files = [path for folder in ("data", "models", "metrics") for path in (project / folder).rglob("*")]
    return {
        str(path.relative_to(project)): b"".join(
            line for line in path.read_bytes().splitlines(keepends=True) if not line.startswith(b'  "seconds"')
        )
        for path in files
        if path.is_file() and path.name != ".gitignore"
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose stages ran on this machine alone; beside it what it was before and after each."""
    folder = tmp_path_factory.mktemp("alone")
    project = make_small_project(Path(shutil.copytree(folder, folder / "project")), merged(SMALL, CHANGES))
    for words in STAGES:
        if words in BY_PARTS:
            copied(project, folder / words)
        succeed(project, *stage_command(words), **ENVIRONMENT)
        if words in BY_PARTS:
            copied(project, folder / f"{words} done")
    return project


@pytest.mark.slow
def test_workers_of_a_cluster_write_the_same_bytes(alone: Path, tmp_path: Path) -> None:
    project = copied(alone.parent / BY_PARTS[0], tmp_path / "project")
    with Cluster(project, 2, tmp_path / "log") as found:
        for words in STAGES:
            succeed(project, *stage_command(words), TRAINCORE_SCHEDULER=found.address, **ENVIRONMENT)
    assert contents(project) == contents(alone)


@pytest.mark.slow
@pytest.mark.parametrize("words", BY_PARTS)
def test_workers_and_then_the_scheduler_are_killed(words: str, alone: Path, tmp_path: Path) -> None:
    project, straight = copied(alone.parent / words, tmp_path / "project"), alone.parent / f"{words} done"
    begun = project / ".traincore/checkpoints" / words.replace(" ", "-")

    def start(address: str) -> "subprocess.Popen[str]":
        environment = {**os.environ, **ENVIRONMENT, "TRAINCORE_SCHEDULER": address}
        return subprocess.Popen(stage_command(words), cwd=project, env=environment, stderr=subprocess.PIPE, text=True)

    with Cluster(project, 2, tmp_path / "log") as found:
        process = start(found.address)
        wait_for(begun)
        found.kill_workers(2)
        assert process.wait(timeout=120) == 0, process.communicate()
        assert contents(project) == contents(straight)
    shutil.rmtree(project)
    copied(alone.parent / words, project)
    with Cluster(project, 2, tmp_path / "log") as found:
        process = start(found.address)
        wait_for(begun)
        process.send_signal(signal.SIGSTOP)  # so that it is not done before the scheduler is gone
        found.kill_scheduler()
        process.send_signal(signal.SIGCONT)
        _, printed = process.communicate(timeout=120)
    assert "Traceback" not in printed
    if process.returncode:  # else all results were there already
        assert process.returncode == 1
        assert printed.splitlines()[-1].endswith(
            "is gone; the same command goes on from the last checkpoint, if there is one"
        )
        succeed(project, *stage_command(words), **ENVIRONMENT)
    assert contents(project) == contents(straight)


@pytest.mark.parametrize("missing", ["dask", "distributed"])
def test_without_dask_a_line_says_how_to_install_it(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setenv("TRAINCORE_SCHEDULER", "tcp://127.0.0.1:1")
    with pytest.raises(UserError, match=r"needs Dask: pip install"), workers.workers(1, list):
        pass


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nothing of the kind", "ftp://127.0.0.1:1"])
def test_a_scheduler_that_is_not_there_ends_in_a_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINCORE_SCHEDULER", address)
    monkeypatch.setenv("TRAINCORE_SCHEDULER_SECONDS", "0.2")
    gc.collect()  # a client of an earlier test, collected while this one's starts, would hold it up
    with pytest.raises(UserError, match=r"^TRAINCORE_SCHEDULER: no scheduler answers at '"), workers.workers(1, list):
        pass


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> cluster.Job:
    """A job for a worker that is this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster, "threads_of_worker", lambda: 1)
    monkeypatch.setattr(cluster, "_prepared", {})
    monkeypatch.setenv("TRAINCORE_THREADS", "3")
    return cluster.job(list, (1, 2))


def test_a_worker_prepares_a_job_once_and_has_the_stage_s_folder_and_threads(
    job: cluster.Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    monkeypatch.setenv("TRAINCORE_THREADS", "1")

    def look(context: list[int], item: int) -> tuple[str, str, int]:
        context.append(item)
        return str(Path.cwd()), os.environ["TRAINCORE_THREADS"], len(context)

    found = [cluster.work(job, look, item) for item in (5, 6)]
    assert found == [(str(tmp_path), "3", 3), (str(tmp_path), "3", 4)]


class Lost:
    """A client whose scheduler is gone when a result is to be fetched."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = SimpleNamespace(asyncio_loop=loop)

    def submit(self, *_: Any, **__: Any) -> None:
        return None

    async def gather(self, *_: Any, **__: Any) -> None:
        raise CommClosedError


def test_a_result_that_cannot_be_fetched_any_more_is_not_waited_for(job: cluster.Job) -> None:
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        part: Future[Any] = cluster.submit(cast(Any, Lost(loop)), cast(Any, job), refuse, 0)
        with pytest.raises(CommClosedError):
            part.result(timeout=10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def refuse(*_: Any) -> None:
    raise UserError("data/train.zarr: missing")


@pytest.mark.parametrize(
    ("changes", "threads", "why"),
    [
        (
            {"versions": {"keras": "1.0"}},
            1,
            r"^TRAINCORE_SCHEDULER: keras is .*, that of the stage is 1\.0 \(a worker on ",
        ),
        ({"versions": {"Traincore's code": "0"}}, 1, r"Traincore's code is .*, that of the stage is 0 "),
        (
            {"folder": "/not/there"},
            1,
            r"/not/there: No such file.*; workers need the file system of the stage",
        ),
        ({}, 2, r"a worker of 2 threads, allowed is one"),
        ({}, 1, r"^data/train\.zarr: missing \(a worker on .*, in /"),
    ],
)
def test_a_worker_that_cannot_do_the_work_says_why_in_a_line(
    changes: dict[str, Any], threads: int, why: str, job: cluster.Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "threads_of_worker", lambda: threads)
    with pytest.raises(UserError, match=why) as caught:
        cluster.work(job._replace(**changes), refuse, 0)
    assert "\n" not in str(caught.value)


class Network:
    """Weights that can change."""

    def __init__(self) -> None:
        self.weight = 0

    def get_weights(self) -> list[np.ndarray]:
        return [np.array([self.weight])]


def ahead(submitted: list[Part], share: Callable[[Any], Any] = lambda value: value) -> workers.Workers[Any]:
    """Workers whose results tell by which graph and weights, and for which rows."""

    def submit(_: Any, part: Part, weights: list[np.ndarray]) -> "Future[list[list[np.ndarray]]]":
        submitted.append(part)
        future: Future[list[list[np.ndarray]]] = Future()
        future.set_result([[np.array([len(part.graph), int(weights[0][0])]), rows] for rows in part.blocks])
        return future

    return workers.Workers(submit, 2, share)


STEPS = st.lists(st.sampled_from(["next", "next", "next", "next", "next", "train", "skip", "other graph"]), max_size=60)


@given(steps=STEPS, rows=st.integers(1, 1500))
def test_whatever_is_asked_for_what_was_computed_ahead_is_that(steps: list[str], rows: int) -> None:
    network, submitted = Network(), list[Part]()
    speculating, queue, graph = Speculation(ahead(submitted), abs, network), np.arange(rows)[::-1], "fit"
    for step in steps:
        if step == "train":
            network.weight += 1
        elif step == "skip":
            queue = queue[7:]
        elif step == "other graph":
            graph = "score" if graph == "fit" else "fit"
        block, left = queue[:50], queue[50:]
        if not len(block):
            break
        speculating.expect(queue)
        found = speculating.take(graph, block)
        if found is not None:
            assert found[0].tolist() == [len(graph), network.weight]
            assert found[1].tolist() == block.tolist()
        queue = left


def test_blocks_that_are_asked_for_in_turn_are_computed_ahead_once_each() -> None:
    submitted = list[Part]()
    speculating, rows = Speculation(ahead(submitted), abs, Network()), np.arange(1030)
    taken = []
    for start in range(0, len(rows), 50):
        speculating.expect(rows[start:])
        taken.append(speculating.take("fit", rows[start : start + 50]) is not None)
    assert taken == [False] * speculation.PATIENCE + [True] * (len(taken) - speculation.PATIENCE)
    computed = np.concatenate([block for part in submitted for block in part.blocks])
    assert computed.tolist() == rows[50 * speculation.PATIENCE :].tolist()
