"""An object store on this machine: moto's server of Amazon's S3, and connections to it that break."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from stages.pipeline import stores
from stages.pipeline.stores import StoredPath
from tests.sets import tree

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
SECONDS = 60


@contextmanager
def serving(log: Path, *command: str) -> Iterator[str]:
    """The address of a server that is started on a free port, and says which in a line of what it prints."""
    with log.open("w") as file, subprocess.Popen([sys.executable, "-u", *command], stdout=file, stderr=file) as server:
        try:
            end = time.monotonic() + SECONDS
            while not (lines := [line for line in log.read_text().splitlines() if "http://" in line]):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)
            yield "http://" + lines[0].split("http://")[1].split()[0].rstrip("/)")
        finally:
            server.terminate()


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """The address of a store without buckets."""
    with serving(log, "-m", "moto.server", "--host", "127.0.0.1", "--port", "0") as address:
        yield address


def use(address: str, patch: pytest.MonkeyPatch) -> None:
    """Have this process and those that it starts use the store at an address, of which they know nothing yet."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": address}.items():
        patch.setenv(name, value)
    forget()


def forget() -> None:
    """Forget what is known of stores, as a new process would."""
    stores._listings.clear()
    stores._client.cache_clear()


def client() -> Any:
    """Amazon's own client of the store in use."""
    import boto3

    return boto3.client("s3")


def upload(folder: Path, bucket: str, below: str) -> str:
    """The URL of a new folder of a bucket, which holds the files of a folder."""
    store = client()
    store.create_bucket(Bucket=bucket)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.upload_file(str(path), bucket, f"{below}/{path.relative_to(folder).as_posix()}")
    return f"s3://{bucket}/{below}"


def put(store: Any, folder: Path) -> StoredPath:
    """The folder ``memory://set``, which holds the files of a folder."""
    for name, content in tree(folder).items():
        store.pipe_file(f"/set/{name}", content)
    return StoredPath("memory://set")


class BreakingProxy:
    """A way to a server on which connections break.

    Attributes
    ----------
    address : str
        Its own.
    target : bytes
        What a request holds whose answer is cut; nothing for none.
    left : int
        Answers that are still to be cut.
    broken : int
        Answers that were.
    """

    def __init__(self, server: str, after: int = 1000) -> None:
        found = urlsplit(server)
        self._server, self._after = (found.hostname or "", found.port or 0), after
        self.target, self.left, self.broken = b"", 0, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        state = {"room": -1}  # bytes of an answer until it is cut
        with near, socket.create_connection(self._server) as far:
            answers = Thread(target=self._answer, args=(far, near, state), daemon=True)
            answers.start()
            with suppress(OSError):
                while request := near.recv(65536):
                    if self.left and self.target and self.target in request:
                        state["room"] = self._after
                    far.sendall(request)
                far.shutdown(socket.SHUT_WR)
            answers.join()

    def _answer(self, far: socket.socket, near: socket.socket, state: dict[str, int]) -> None:
        with suppress(OSError):
            while content := far.recv(4096):
                if state["room"] >= 0:
                    content = content[: state["room"]]
                    state["room"] -= len(content)
                near.sendall(content)
                if state["room"] == 0:
                    self.left, self.broken = self.left - 1, self.broken + 1
                    break
            near.shutdown(socket.SHUT_RDWR)
