"""A Dask cluster on this machine: a scheduler, and workers of one thread, as processes that can be killed."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.project import environment


class Cluster:
    """A scheduler and workers that run the code of a project.

    Parameters
    ----------
    project : Path
        Where they start.
    count : int
        Number of workers.
    log : Path
        A file for what they print.
    """

    def __init__(self, project: Path, count: int, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self._project = project
        self._log = log
        self._count = count
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        port = self.address.rsplit(":")[-1]
        self.start("scheduler", "--port", port, "--no-dashboard")
        for _ in range(self._count):
            self.start("worker", self.address, "--nthreads", "1", "--no-dashboard")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            for child in [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []:
                child.kill()
            process.kill()
            process.wait()

    def start(self, what: str, *options: str) -> None:
        """Start a part as the README says."""
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *options]
            self.processes.append(
                subprocess.Popen(command, cwd=self._project, env=environment(), stdout=log, stderr=log)
            )

    def kill_scheduler(self) -> None:
        """Kill it as a machine does that fails."""
        self.processes[0].kill()

    def kill_workers(self, count: int) -> None:
        """Kill some of the processes that work; others take their place."""
        for process in self.processes[1 : 1 + count]:
            for child in psutil.Process(process.pid).children(recursive=True):
                if "resource_tracker" not in " ".join(child.cmdline()):
                    child.send_signal(signal.SIGKILL)


def wait_for(path: Path, seconds: float = 60) -> None:
    """Wait until there is a file or folder."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not come"
        time.sleep(0.02)
