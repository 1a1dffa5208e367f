"""Workers of a Dask cluster, whose scheduler an environment variable names; it changes no result.

Cluster and stage share a file system: a worker opens the files that the stage would open, by the same paths.
"""

import asyncio
import hashlib
import logging
import os
import pickle
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from stages.pipeline.errors import UserError
from stages.pipeline.machine import THREADS, count_from_environment, seconds_from_environment
from stages.pipeline.versions import versions

if TYPE_CHECKING:
    from distributed import Client
    from distributed import Future as Remote

SCHEDULER = "TRAINCORE_SCHEDULER"
WAIT = "TRAINCORE_SCHEDULER_SECONDS"  # for the scheduler, and for a worker
DEFAULT_WAIT = 30.0
PACKAGE = "distributed"  # beside those that decide on results
POLL_SECONDS = 1.0
HOW = "`PYTHONPATH=. dask scheduler`, `PYTHONPATH=. dask worker ADDRESS --nthreads 1`"
PARTS = 64  # under way at once, at the least: workers may join later
NOISY = ("distributed", "tornado", "asyncio")  # loggers that print tracebacks where a connection is lost
KEPT = 2  # preparations that a worker keeps
MOST_BYTES = "1 GB"  # that a preparation may take without a warning of Dask's
Result = TypeVar("Result")

_prepared: dict[str, Any] = {}  # of a worker process: by the digests of their jobs


class Job(NamedTuple):
    """What a worker needs to know once of some work: where, by which code, and how to prepare."""

    key: str
    folder: str
    versions: dict[str, str]
    environment: dict[str, str]
    prepare: Callable[..., Any]
    arguments: tuple[Any, ...]


def address() -> str:
    """The address of the scheduler; empty where the work stays on this machine."""
    return os.environ.get(SCHEDULER, "")


@contextmanager
def client() -> Iterator["Client"]:
    """A connection to the scheduler, and at least one worker.

    Raises
    ------
    UserError
        If Dask is not installed, there is no such scheduler, no worker, or it is lost while the stage works.
    """
    try:
        import dask
        from distributed import Client, KilledWorker
        from distributed.comm import CommClosedError
    except ModuleNotFoundError:
        raise UserError(
            f"environment variable {SCHEDULER} is {address()!r}, which needs Dask: pip install -r requirements.txt"
        ) from None
    for name in logging.root.manager.loggerDict:
        if name.split(".")[0] in NOISY:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # a line of ours says it
    seconds = seconds_from_environment(WAIT, DEFAULT_WAIT)
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": MOST_BYTES}):
        try:
            found = Client(address(), timeout=seconds, set_as_default=False)
        except (OSError, ValueError, ImportError) as error:
            raise UserError(f"{SCHEDULER}: no scheduler answers at {address()!r}: {_short(error)}") from None
        ended, alone = Event(), Event()
        Thread(target=_watch, args=(found, seconds, ended, alone), daemon=True).start()
        try:
            yield found
        except UserError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if alone.is_set():
                raise UserError(
                    f"{SCHEDULER}: the scheduler at {address()} had no worker for {seconds:g} s; see what its workers "
                    f"printed, they start where the stage does: {HOW}"
                ) from None
            if isinstance(error, KilledWorker):
                raise UserError(
                    f"{SCHEDULER}: a part of the work ended {error.allowed_failures + 1} workers, most often for lack "
                    "of memory; the same command goes on from the last checkpoint, if there is one"
                ) from None
            if isinstance(error, RuntimeError) and "deserialization" in str(error):
                raise UserError(
                    f"{SCHEDULER}: the scheduler at {address()} cannot import the project's code, it starts where the "
                    f"stage does: {HOW}"
                ) from None
            # What a lost scheduler brings about depends on what the client was about to do.
            if found.status != "running" or isinstance(
                error, (CancelledError, asyncio.CancelledError, CommClosedError)
            ):
                raise UserError(
                    f"{SCHEDULER}: the scheduler at {address()} is gone; the same command goes on from the last "
                    "checkpoint, if there is one"
                ) from None
            raise
        finally:
            ended.set()
            found.close(timeout=1)


def _watch(found: "Client", seconds: float, ended: Event, alone: Event) -> None:
    """Close a connection once its scheduler was without workers for too long: the stage would wait for ever."""
    last = time.monotonic()
    with suppress(Exception):  # the connection is lost, which the stage notices, too
        while not ended.wait(POLL_SECONDS):
            if found.nthreads():
                last = time.monotonic()
            elif time.monotonic() - last > seconds:
                alone.set()
                found.close(timeout=1)
                return


def job(prepare: Callable[..., Any], *arguments: Any) -> Job:
    """A job for workers that see the files of this process and run its code."""
    environment = {"KERAS_BACKEND": "tensorflow", THREADS: str(count_from_environment(THREADS))}
    pickled = pickle.dumps((str(Path.cwd()), environment, prepare, arguments))
    return Job(hashlib.sha256(pickled).hexdigest(), str(Path.cwd()), versions(PACKAGE), environment, prepare, arguments)


def submit(
    client: "Client", job: "Remote[Job]", function: Callable[..., Result], item: Any, *shared: Any
) -> Future[Result]:
    """Have a worker do a part of a job, see `work`."""
    # Futures of the client's own executor wait for ever if the scheduler is lost while it fetches a result.
    done = client.submit(work, job, function, item, *shared, pure=False)
    return asyncio.run_coroutine_threadsafe(client.gather(done, asynchronous=True), client.loop.asyncio_loop)


def work(job: Job, function: Callable[..., Result], item: Any, *shared: Any) -> Result:
    """Do a part of a job in a worker process.

    Raises
    ------
    UserError
        If the worker has other code or packages than the stage or does not see its files, or the function raises it.
    """
    try:
        _require_alike(job)
        return function(_context_of(job), item, *shared)
    except UserError as error:
        raise UserError(f"{error} (a worker on {socket.gethostname()}, in {job.folder})") from None


def _require_alike(job: Job) -> None:
    for name, version in job.versions.items():
        if (here := versions(PACKAGE).get(name)) != version:
            raise UserError(f"{SCHEDULER}: {name} is {here}, that of the stage is {version}")
    if threads_of_worker() != 1:
        raise UserError(
            f"{SCHEDULER}: a worker of {threads_of_worker()} threads, allowed is one: `dask worker --nthreads 1`"
        )
    try:
        os.chdir(job.folder)  # a worker of one thread does one part at a time
    except OSError as error:
        raise UserError(
            f"{SCHEDULER}: {job.folder}: {error.strerror}; workers need the file system of the stage"
        ) from None


def threads_of_worker() -> int:
    """Parts that this worker process does at once."""
    from distributed import get_worker

    return int(get_worker().state.nthreads)


def _context_of(job: Job) -> Any:
    """What a worker prepared for a job, now or earlier."""
    if job.key not in _prepared:
        for key in [*_prepared][: len(_prepared) + 1 - KEPT]:
            del _prepared[key]
        os.environ.update(job.environment)
        _prepared[job.key] = job.prepare(*job.arguments)
    return _prepared[job.key]


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
