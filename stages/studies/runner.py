"""Runs of studies as DVC experiments, each in a clone of the repository."""

import json
import os
import queue
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stages.pairs.tables import read_table
from stages.pipeline import paths
from stages.pipeline.cluster import SCHEDULER
from stages.pipeline.errors import UserError
from stages.pipeline.files import atomic, read_metrics
from stages.pipeline.machine import THREADS, cores, count_from_environment
from stages.pipeline.params import validation
from stages.pipeline.params.yaml import read_yaml
from stages.pipeline.processes import end_with_parent
from stages.pipeline.workers import itself, workers
from stages.studies.definitions import FILES, SHARES, TENTHS, Run, reference_in
from stages.studies.results import CORES, Result, digest_of_core, figures_of, has_core, read_results, record, result_of

CLONES = Path(".traincore/studies/clones")
CORES_IN_CLONE = Path("kept")  # as it stands in the parameters of recorded experiments
METRICS = {"seed": paths.SEED_METRICS, "select": paths.SELECT_METRICS, "evaluate": paths.EVALUATE_METRICS}


def run_missing(asked: Sequence[Run], runs: Mapping[str, Run]) -> set[str]:
    """Run the experiments without a result, and record their results.

    Parameters
    ----------
    asked : sequence of Run
        Runs whose results are asked for.
    runs : mapping of str to Run
        All runs by name; those that the asked ones refer to are run before them, if their cores are not at hand.

    Returns
    -------
    set of str
        Names of the runs that failed, or that need one that failed.
    """
    failed: set[str] = set()
    lost: set[str] = set()  # runs that diverged, which is a result, but leave no core to those that need it
    under_way: dict[Future[Result], Run] = {}
    with _experiments(runs) as start:
        while True:
            left = {run.name: run for run in _missing(asked, runs) if run.name not in failed | lost}
            open_or_lost = left.keys() | failed | lost
            ready = [run for run in left.values() if not _lacking(run, runs) and not run.needs & open_or_lost]
            under_way |= {start(run): run for run in ready if run not in under_way.values()}
            if not under_way:
                return failed | left.keys()
            for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                run = under_way.pop(done)
                try:
                    result = done.result()
                except UserError as error:
                    failed.add(run.name)
                    print(f"{run.name}: {error}", flush=True)
                else:
                    record(run, result)
                    lost |= {run.name} if "diverged" in result else set()
                    print(f"{run.name}: done", flush=True)


def _missing(asked: Iterable[Run], runs: Mapping[str, Run]) -> list[Run]:
    """Runs without a result, and before them those that they lack."""
    missing: dict[str, Run] = {}
    for run in asked:
        if result_of(run) is None:
            missing |= {each.name: each for each in (*_missing_for(run, runs), run)}
    return [*missing.values()]


def _missing_for(run: Run, runs: Mapping[str, Run]) -> Iterator[Run]:
    """Runs that a run lacks, each after those that it lacks itself."""
    for each in _lacking(run, runs):
        yield from _missing_for(each, runs)
        yield each


def _lacking(run: Run, runs: Mapping[str, Run]) -> list[Run]:
    """Runs that a run needs and that have no result, or a core that it needs and that is not at hand."""
    results = {name: result_of(runs[name]) for name in sorted(run.needs)}
    return [
        runs[name]
        for name, result in results.items()
        if result is None or "diverged" in result or (name in run.needs_cores and not has_core(name))
    ]


@contextmanager
def _experiments(runs: Mapping[str, Run]) -> Iterator[Callable[[Run], Future[Result]]]:
    """A function that starts a run, of which ``TRAINCORE_JOBS`` work at a time."""
    # DVC's own queue loses experiments when several workers take from it (iterative/dvc issues 10673 and 10779), and
    # both the queue and `--temp` put the workspace's changes aside while they start. So each job has its own clone.
    count = count_from_environment("TRAINCORE_JOBS")
    clones: queue.Queue[int] = queue.Queue()
    for number in range(count):
        clones.put(number)
    threads = os.environ.get(THREADS, str(max(1, cores() // count)))

    def work(run: Run) -> Result:
        number = clones.get()
        try:
            result: Result = running.submit(_experiment, (run, _clone(number), threads)).result()
            return result
        finally:
            clones.put(number)

    with workers(None, itself, runs) as running:
        jobs = ThreadPoolExecutor(count)
        try:
            yield lambda run: jobs.submit(work, run)
        finally:
            jobs.shutdown(cancel_futures=True)


def _clone(number: int) -> Path:
    """A clone of the repository as it is committed, with the same cache, for one job."""
    clone = CLONES / str(number)
    if not (clone / ".dvc/config.local").exists():
        shutil.rmtree(clone, ignore_errors=True)
        _call("git", "clone", "--quiet", ".", str(clone))
        for line in _call("git", "config", "--list").splitlines():
            if line.startswith("user."):
                _call("git", "config", *line.split("=", 1), folder=clone)
        cache = Path(_call("dvc", "cache", "dir").strip()).resolve()
        _call("dvc", "config", "--local", "cache.dir", str(cache), folder=clone)
    return clone


def _experiment(runs: Mapping[str, Run], job: tuple[Run, Path, str]) -> Result:
    """Run an experiment in a clone, fetch it from there, and keep its core if other runs need it; its result.

    Training that diverges is a result, too.
    """
    run, clone, threads = job
    variables = {THREADS: threads, SCHEDULER: ""}  # a worker that runs it cannot wait for others
    commit = _call("git", "rev-parse", "HEAD").strip()
    _call("git", "fetch", "--quiet", "origin", commit, folder=clone)
    _call("git", "checkout", "--quiet", "--force", "--detach", commit, folder=clone)
    for name in run.needs_cores:
        shutil.copytree(CORES / name, clone / CORES_IN_CLONE / name, dirs_exist_ok=True)
    if _refs_of(run.name, clone):
        _call("dvc", "exp", "remove", run.name, folder=clone)
    settings = [f"--set-param={key}={_literal(resolve(value, runs))}" for key, value in run.changes.items()]
    cores = {name: digest_of_core(name) for name in sorted(run.needs) if has_core(name)}
    figures = {name: figures_of(name) for name in sorted(run.needs)}
    result = {"changes": run.changes, "code": commit, "cores": cores, "figures": figures}
    try:
        _call("dvc", "exp", "run", "--name", run.name, *settings, "evaluate", folder=clone, **variables)
    except UserError as error:
        if "training diverged" not in str(error):
            raise
        return {**result, "diverged": True}
    (ref,) = _refs_of(run.name, clone)
    _call("git", "fetch", "--quiet", str(clone), f"+{ref}:{ref}")
    if any(run.name in other.needs for other in runs.values()):
        _keep_core(run, clone)
    metrics = {name: read_metrics(clone / path) for name, path in METRICS.items()}
    rows = {"rows": _rows(clone / paths.CORE_TABLE)} if run.keeps_rows else {}
    return {**result, **metrics, **rows}


def _keep_core(run: Run, clone: Path) -> None:
    """Keep the files that other runs need."""
    excluded = clone / read_yaml(clone / validation.FILE)["select"]["exclude"]
    core = _rows(clone / paths.CORE_TABLE)
    tables = {"used": sorted({*core, *_rows(excluded)}), **but_a_tenth(core)}
    with atomic(CORES / run.name) as [folder]:
        folder.mkdir()
        for path in (paths.CORE_TABLE, paths.CORE_MODEL, paths.SELECT_METRICS):
            shutil.copy(clone / path, folder)
        for words, rows in tables.items():
            (folder / FILES[words]).write_text("row\n" + "".join(f"{row}\n" for row in rows), encoding="utf-8")


def but_a_tenth(core: Sequence[int]) -> dict[str, list[int]]:
    """A core without each tenth of it, and without one that is drawn at random, by the words that refer to it."""
    shuffled = np.random.default_rng(0).permutation(core)
    tenths = [*np.array_split(core, 10), np.array_split(shuffled, 10)[0]]
    return {
        f"core but tenth {name}": [row for row in core if row not in tenth]
        for name, tenth in zip(TENTHS, tenths, strict=True)
    }


def resolve(value: Any, runs: Mapping[str, Run]) -> Any:
    """The file or the number that a reference stands for; any other value of a parameter as it is."""
    reference = reference_in(value)
    if not reference:
        return value
    earlier = runs[reference.run]
    if reference.words in FILES:
        return CORES_IN_CLONE / earlier.name / FILES[reference.words]
    result = read_results(earlier.study)[earlier.name]
    if reference.words in SHARES:
        return round(SHARES[reference.words] * result["select"]["selected"])
    batch_size = earlier.changes.get("select.batch_size", read_yaml(validation.FILE)["select"]["batch_size"])
    return -(-(result["seed"]["pairs_trained"] + result["select"]["pairs_trained"]) // batch_size)


def _literal(value: Any) -> str:
    """A value as DVC's ``--set-param`` takes it."""
    return str(value) if isinstance(value, str | Path) else json.dumps(value)


def _rows(table: Path) -> list[int]:
    return [int(line["row"]) for line in read_table(table, "row")]


def _refs_of(name: str, folder: Path) -> list[str]:
    """The reference of an experiment, if a clone has it."""
    refs = _call("git", "for-each-ref", "--format=%(refname)", "refs/exps", folder=folder).split()
    return [ref for ref in refs if ref.endswith(f"/{name}")]


def _call(*words: str, folder: Path = Path(), **variables: str) -> str:
    """Run a command; its output.

    Raises
    ------
    UserError
        If it fails, with the lines in which it says why.
    """
    result = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=partial(end_with_parent, signal.SIGTERM),
    )
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines()
        why = [line for line in lines if re.match(r"(\w+|ERROR): ", line)] or lines or [f"exit {result.returncode}"]
        raise UserError(f"`{' '.join(words)[:200]}` failed: {'; '.join(why)[:500]}")
    return result.stdout
