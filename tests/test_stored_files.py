"""Files and folders of an object store: found and read as those of a disk, heads by a part of their bytes."""

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages.datasets.shared import decode as decode_module
from stages.datasets.shared.decode import decode, read_header
from stages.datasets.shared.find import find_files
from stages.pipeline import stores
from stages.pipeline.errors import StoreError
from stages.pipeline.files import stamp
from stages.pipeline.stores import StoredPath, require_unchanged
from tests.damage import examples, refused
from tests.files import make_pairs, noise
from tests.sources import drawn, refusal
from tests.store import forget, put


def turned(path: Path, pixels: np.ndarray) -> None:
    """Write a PNG that EXIF turns: before its pixels, behind them ("late"), or behind them in one chunk ("one")."""
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(path, exif=exif)
    content, place, chunks = path.read_bytes(), 8, []
    while place < len(content):
        end = place + 8 + int.from_bytes(content[place : place + 4])
        chunks.append((content[place + 4 : place + 8], content[place + 8 : end]))
        place = end + 4
    drawn = [data for kind, data in chunks if kind == b"IDAT"]
    pixels_of = [(b"IDAT", data) for data in ([b"".join(drawn)] if path.stem.endswith("one") else drawn)]
    exif_of = [each for each in chunks if each[0] == b"eXIf"]
    order = [*exif_of, *pixels_of] if path.stem.endswith("early") else [*pixels_of, *exif_of]
    order = [chunks[0], *order, chunks[-1]]
    written = [len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4) for kind, data in order]
    path.write_bytes(content[:8] + b"".join(written))


@pytest.mark.parametrize(
    "ending", ["png", "early.png", "late.png", "one.png", "jpg", "tif", "zip.tif", "bmp", "webp", "gif"]
)
def test_heads_are_those_of_the_files_and_take_a_part_of_their_bytes(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    path, pixels = tmp_path / f"a.{ending}", noise(500, 400)
    if ending.endswith(".png"):
        turned(path, pixels)
    elif ending == "zip.tif":
        tifffile.imwrite(path, pixels, photometric="rgb", compression="zlib")
    else:
        Image.fromarray(pixels[..., 0] if ending == "gif" else pixels).save(path)
    there, fetched, fetch = put(memory, tmp_path) / path.name, [], stores._range

    def counted(client: Any, url: str, start: int, end: int) -> bytes:
        fetched.append(end - start)
        return fetch(client, url, start, end)

    monkeypatch.setattr(stores, "_range", counted)
    assert read_header(there) == read_header(path)
    assert (read_header(path).height == 400) == ending.endswith(".png")
    if ending in ("webp", "gif", "late.png", "one.png"):  # cannot be told without the rest
        assert sum(fetched) <= path.stat().st_size + 2**17
    else:
        assert sum(fetched) < path.stat().st_size / 3
        assert len(fetched) <= 2
    fetched.clear()
    assert np.array_equal(decode(there).values, decode(path).values)
    assert fetched == [path.stat().st_size]


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "zip.tif", "bmp", "webp", "gif"])
def test_no_decoder_takes_a_store_that_fails_for_a_broken_file(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    pixels = noise(64, 64, channels=1 if ending == "gif" else 3)
    if ending == "zip.tif":
        tifffile.imwrite(tmp_path / f"a.{ending}", pixels, photometric="rgb", compression="zlib")
    else:
        Image.fromarray(pixels).save(tmp_path / f"a.{ending}")
    there, fetch = put(memory, tmp_path) / f"a.{ending}", stores._range

    def failing(client: Any, url: str, start: int, end: int) -> bytes:
        if start:
            raise OSError("cut")
        return fetch(client, url, start, end)

    monkeypatch.setattr(stores, "_range", failing)
    monkeypatch.setattr(stores, "WAITS", (0.0,))
    monkeypatch.setattr(decode_module, "WHOLE", 300)
    with pytest.raises(StoreError, match=rf"^memory://set/a\.{ending}: cannot be read: cut$"):
        decode(there)


def test_a_server_that_does_not_say_a_size_is_named_when_that_file_is_read(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store = put(memory, make_pairs(tmp_path, 2)), type(memory)
    memory.pipe_file("/set/page", b"made anew each time")
    find, info = store.find, store.info

    def unsaid(said: dict[str, Any]) -> dict[str, Any]:
        return {**said, "size": None} if said["name"] in unknown else said

    monkeypatch.setattr(
        store, "find", lambda *asked, **more: {name: unsaid(said) for name, said in find(*asked, **more).items()}
    )
    monkeypatch.setattr(store, "info", lambda *asked: unsaid(info(*asked)))
    unknown = ["/set/page"]
    assert drawn(folder).images.shape[0] == 2
    forget()
    unknown = ["/set/page", "/set/images/b.png"]
    with pytest.raises(StoreError, match=r"^memory://set/images/b\.png: its server does not say its size"):
        drawn(folder, strict=False)


@given(
    size=st.integers(0, 300),
    at_once=st.integers(1, 80),
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(-300, 300), st.integers(-1, 90)), max_size=8),
)
@examples
def test_a_file_of_a_store_reads_like_one_of_a_disk(
    memory: Any, size: int, at_once: int, steps: list[tuple[int, int, int]]
) -> None:
    content = np.random.default_rng(size).bytes(size)
    memory.pipe_file("/set/file", content)
    forget()
    expected = io.BytesIO(content)
    with StoredPath("memory://set/file").open("rb", at_once) as found:
        for whence, offset, count in steps:
            base = (0, expected.tell(), size)[whence]
            place = max(0, base + offset)
            assert found.seek(place - base, whence) == expected.seek(place)
            assert found.read(count) == expected.read(count)
            assert found.tell() == expected.tell()


NAMES = ["a[1].png", "ä b.png", "x#y%20.png", ".hidden.png", "deep/er/a.png", "deep/b.tif", "notes.txt", "k*.jpg"]


@pytest.mark.parametrize("pattern", ["*", "**/*", "deep/**/*", "*.png", "[ax]*", "deep/?.tif", "no/*", "d*/*"])
def test_patterns_find_in_a_store_what_they_find_on_a_disk(tmp_path: Path, memory: Any, pattern: str) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    there = put(memory, tmp_path)
    assert find_files(there, pattern) == find_files(tmp_path, pattern)
    for name in NAMES:
        assert (there / name).read_bytes() == name.encode()


def test_a_stamp_tells_contents_apart(memory: Any, tmp_path: Path) -> None:
    folder = put(memory, make_pairs(tmp_path, 2))
    before = stamp(folder)
    assert stamp(StoredPath(str(folder))) == before
    memory.pipe_file("/set/images/a.png", memory.cat_file("/set/images/a.png"))
    forget()
    assert stamp(folder) != before


@pytest.mark.parametrize("name", ["images/a.png", "images/new.png", "notes.txt"])
def test_files_that_change_while_they_are_read_are_refused(memory: Any, tmp_path: Path, name: str) -> None:
    folder = put(memory, make_pairs(tmp_path, 2))
    drawn(folder)
    require_unchanged(folder)
    memory.pipe_file(f"/set/{name}", b"other")
    assert refused(lambda: require_unchanged(folder)) == (
        f"memory://set/{name}: changed while the folder was read; the same command reads it anew"
    )


def test_names_that_no_path_has_are_refused(memory: Any, tmp_path: Path) -> None:
    folder = put(memory, make_pairs(tmp_path, 2))
    memory.pipe_file("/set/images//c.png", b"")
    assert "holds 'images//c.png', allowed are names without empty parts" in refusal(folder)
