"""Object stores: folders and files behind a URL, as ``s3://bucket/folder``, read by fsspec, in ranges and with retries.

Keys, regions and endpoints come from where a store's own programs look for them, as ``AWS_ACCESS_KEY_ID``.
"""

import errno
import io
import os
import re
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path, PosixPath
from typing import IO, Any, NamedTuple, Self, TypeVar

from stages.pipeline.errors import StoreError, UserError

WAITS = (0.5, 2.0)  # seconds before the second and the third try; some clients try several times by themselves
BLOCK = 2**20  # bytes of a request, if a reader asks for fewer
PART = 2**26  # bytes of a request, if a reader asks for more
HEADS_AT_ONCE = 16
VERSIONS = ("ETag", "etag", "LastModified", "Last-Modified", "mtime", "updated", "created")  # in fsspec's words
PASSWORD = re.compile(r"[^/]+//[^/@]*:[^/@]*@")
UNNAMEABLE = re.compile(r"(^|/)\.{0,2}(/|$)")  # names of which a path leaves out a part
Answer = TypeVar("Answer")


class Entry(NamedTuple):
    """What a store says of a file: its size in bytes, if it knows, and a text that changes with its content."""

    size: int | None
    version: str


def folder_at(path: str) -> Path:
    """The folder that a parameter names: one of this machine or, if it is a URL, of an object store.

    Raises
    ------
    UserError
        If the URL holds a password.
    """
    if PASSWORD.match(path):
        raise UserError("dataset.path holds a password, which git would keep; allowed are URLs without one")
    return StoredPath(path) if "://" in path else Path(path)


def version_of(path: Path) -> tuple[int | None, int | str]:
    """Size and time of a file; in place of the time what a store says of its version.

    It is the time of the last change on this disk, since programs that copy or unpack set the other one as they like.
    """
    if isinstance(path, StoredPath):
        return path.entry()
    status = path.stat()
    return status.st_size, status.st_ctime_ns


def require_unchanged(folder: Path) -> None:
    """List a folder of a store once more; one of this machine is not looked at.

    Raises
    ------
    UserError
        If it holds other files than when it was listed first: DVC would take them for those that were read.
    """
    if isinstance(folder, StoredPath) and folder in _listings:
        before = _listings.pop(folder)
        names = sorted(name for name, _ in before.items() ^ folder.listing().items())
        if names:
            raise UserError(f"{folder / names[0]}: changed while the folder was read; the same command reads it anew")


class StoredPath(PosixPath):
    """A folder or a file of an object store. Its names are those of any path; it can be listed and read, no more.

    A folder is listed once in a process, with all that is below it. What it says then is what holds.
    """

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)

    def __fspath__(self) -> str:
        raise TypeError(f"{self}: no file of this machine")

    def listing(self) -> Mapping[str, Entry]:
        """All files below this folder by their paths below it; none if it is not there."""
        if self not in _listings:
            try:
                _listings[self] = _ask(self, _list)
            except FileNotFoundError:
                _listings[self] = {}
        return _listings[self]

    def entry(self) -> Entry:
        """What the store says of this file.

        Raises
        ------
        FileNotFoundError
            If it is not there.
        """
        folder = next((parent for parent in self.parents if parent in _listings), None)
        if folder is None:
            return _entry(_ask(self, lambda client, url: client.info(url)))
        try:
            return _listings[folder][self.relative_to(folder).as_posix()]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self)) from None

    def is_dir(self) -> bool:
        return bool(self.listing())

    def is_file(self) -> bool:
        try:
            self.entry()
        except FileNotFoundError:
            return False
        return True

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def is_symlink(self) -> bool:
        return False

    def resolve(self, strict: bool = False) -> Self:
        return type(self)(os.path.normpath(super().__str__()))

    def glob(self, pattern: str) -> Generator[Self, None, None]:
        from fsspec.utils import glob_translate

        matches = re.compile(glob_translate(pattern)).match
        return (self / name for name in self.listing() if matches(name))

    def rglob(self, pattern: str) -> Generator[Self, None, None]:
        return self.glob(f"**/{pattern}")

    def open(  # type: ignore[override]
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Open it for reading; ``buffering`` is the bytes that the store is asked for at once."""
        if mode not in ("r", "rb"):
            raise ValueError(f"{self}: mode {mode!r}, allowed are 'r' and 'rb'")
        size = self.entry().size
        if size is None:
            raise StoreError(f"{self}: its server does not say its size, which is needed to read it in ranges")
        file = io.BufferedReader(_Ranges(self, size), BLOCK if buffering < 0 else buffering)
        return file if mode == "rb" else io.TextIOWrapper(file, encoding, errors, newline)

    def read_bytes(self) -> bytes:
        with self.open("rb") as file:
            content: bytes = file.read()
        return content


_listings: dict[StoredPath, Mapping[str, Entry]] = {}


class _Ranges(io.RawIOBase):
    """A file of a store, of which those bytes are fetched that are read; the first ones are kept."""

    def __init__(self, path: StoredPath, size: int) -> None:
        self._path, self._size, self._place, self._first = path, size, 0, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = max(0, offset + (0, self._place, self._size)[whence])
        return self._place

    def readinto(self, buffer: Any) -> int:
        content = self._fetch(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self._fetch(PART), b""))

    def _fetch(self, count: int) -> bytes:
        start, end = self._place, min(self._place + count, self._size)
        if start < len(self._first):
            content = self._first[start:end]
        elif start < end:
            content = self._ask_for(start, end)
            if start == 0:
                self._first = content
        else:
            content = b""
        self._place += len(content)
        return content

    def _ask_for(self, start: int, end: int) -> bytes:
        try:
            return _ask(self._path, partial(_range, start=start, end=end))
        except FileNotFoundError:
            raise StoreError(f"{self._path}: was listed, and is no longer there") from None


def _ask(path: StoredPath, question: Callable[[Any, str], Answer]) -> Answer:
    """The answer to a question, which gets a client and the URL.

    Raises
    ------
    FileNotFoundError
        If there is no such file or bucket.
    StoreError
        If the store does not answer, or refuses to.
    """
    protocol, waits = path.parts[0].rstrip(":"), iter(WAITS)
    while True:
        try:
            return question(_client(protocol, os.getpid()), str(path))
        except (FileNotFoundError, UserError):
            raise
        except ImportError as error:
            raise StoreError(f"{path}: {error}; `pip install 'dvc[{protocol}]'` brings what is needed") from None
        except Exception as error:  # each client has its own
            wait = next(waits, None)
            if wait is None or isinstance(error, PermissionError | ValueError):
                why = " ".join(str(error).split()) or type(error).__name__
                raise StoreError(f"{path}: cannot be read: {why}") from None
            time.sleep(wait)


@cache
def _client(protocol: str, process: int) -> Any:
    """The client of fsspec for a protocol; one for each process, since its thread does not survive a fork."""
    import fsspec

    return fsspec.filesystem(protocol, skip_instance_cache=True, use_listings_cache=False)


def _list(client: Any, url: str) -> dict[str, Entry]:
    infos = client.find(f"{url}/", detail=True)
    unsaid = [name for name, info in infos.items() if info["size"] is None]  # a web page names files alone
    with ThreadPoolExecutor(HEADS_AT_ONCE) as threads:
        infos |= zip(unsaid, threads.map(client.info, unsaid), strict=True)
    base = client._strip_protocol(url).rstrip("/") + "/"
    below = {
        name.removeprefix(base): info
        for name, info in infos.items()
        if name.startswith(base) and not name.endswith("/")
    }
    if odd := next(filter(UNNAMEABLE.search, below), None):
        raise UserError(f"{url}: holds {odd!r}, allowed are names without empty parts, '.' and '..'")
    return {name: _entry(info) for name, info in below.items()}


def _range(client: Any, url: str, start: int, end: int) -> bytes:
    content: bytes = client.cat_file(url, start=start, end=end)
    if len(content) > end - start:  # a server that knows no ranges sends all of it
        content = content[start:end]
    if len(content) < end - start:
        raise OSError(f"{len(content)} bytes came from {start} on, expected {end - start}")
    return content


def _entry(info: Mapping[str, Any]) -> Entry:
    return Entry(info["size"], str(next((info[key] for key in VERSIONS if info.get(key)), "")))
