"""Files of a stage: written whole or not at all, read whole or refused in a line that says how to restore them."""

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.pairs.tables import read_table, write_csv
from stages.pipeline import disk
from stages.pipeline.errors import UserError
from stages.pipeline.files import atomic, read_arrays, read_metrics, read_output, write_json

READERS: dict[str, Callable[[Path], Any]] = {"a.csv": read_table, "a.json": read_metrics, "a.npz": read_arrays}


def contents(folder: Path) -> dict[str, str | None]:
    return {str(path.relative_to(folder)): path.read_text() if path.is_file() else None for path in folder.rglob("*")}


def make_folder(path: Path, text: str) -> None:
    path.mkdir()
    (path / "inner").write_text(text)


def test_what_is_written_is_moved_to_its_place(tmp_path: Path) -> None:
    with atomic(tmp_path / "data" / "a.csv") as (path,):
        path.write_text("new")
        assert not (tmp_path / "data" / "a.csv").exists()
    assert contents(tmp_path) == {"data": None, "data/a.csv": "new"}


def test_the_path_to_write_to_has_the_suffix_of_its_target(tmp_path: Path) -> None:
    with atomic(tmp_path / "a.keras", tmp_path / "b.zarr") as (model, data):
        assert (model.suffix, data.suffix) == (".keras", ".zarr")
        assert model.parent == data.parent == tmp_path
        model.touch()
        data.touch()


def test_files_and_folders_replace_files_and_folders(tmp_path: Path) -> None:
    make_folder(tmp_path / "a", "old")
    make_folder(tmp_path / "b", "old")
    (tmp_path / "c").write_text("old")
    with atomic(tmp_path / "a", tmp_path / "b", tmp_path / "c") as (a, b, c):
        make_folder(a, "new")
        b.write_text("new")
        make_folder(c, "new")
    assert contents(tmp_path) == {"a": None, "a/inner": "new", "b": "new", "c": None, "c/inner": "new"}


@pytest.mark.parametrize("error", [UserError("bad"), OSError("full"), KeyboardInterrupt(), ZeroDivisionError()])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    make_folder(tmp_path / "a", "old")
    (tmp_path / "b").write_text("old")
    before = contents(tmp_path)

    def work() -> None:
        with atomic(tmp_path / "a", tmp_path / "b", tmp_path / "c") as (a, b, _):
            make_folder(a, "half")
            b.write_text("new")
            raise error

    with pytest.raises(type(error)):
        work()
    assert contents(tmp_path) == before


def test_a_target_that_was_not_written_is_a_failure_of_all(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("old")
    before = contents(tmp_path)
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "a", tmp_path / "b") as (a, _):
        a.write_text("new")
    assert contents(tmp_path) == before


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    with atomic(tmp_path / "a") as (left,):
        left.touch()
    make_folder(left, "left by a killed run")
    with atomic(tmp_path / "a") as (path,):
        assert path == left
        assert not path.exists()
        path.write_text("new")
    assert contents(tmp_path) == {"a": "new"}


def test_a_full_disk_ends_in_a_line_that_names_the_outputs_and_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "free_bytes", lambda path: 123_000_000)
    (tmp_path / "a").write_text("old")

    def write() -> None:
        with atomic(tmp_path / "a", tmp_path / "b") as (a, _):
            a.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    line = r"a, .*b: cannot be written: No space left on device; 123\.0 MB are free; "
    with pytest.raises(UserError, match=line + "once there is room, the same command") as caught:
        write()
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == {"a": "old"}


def test_a_second_process_that_writes_the_same_is_refused_and_says_which_is_first(tmp_path: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from stages.pipeline.files import atomic
with atomic(Path({str(tmp_path / "core.keras")!r}), Path({str(tmp_path / "core.csv")!r})) as paths:
    for path in paths:
        path.write_text("first")
    print("writing", flush=True)
    sys.stdin.read()
"""
    first = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "writing\n"
    with pytest.raises(UserError, match=rf"core\.keras: process {first.pid} is writing it"), _writing(tmp_path):
        pass
    first.communicate("")
    assert contents(tmp_path) == {"core.keras": "first", "core.csv": "first"}
    with _writing(tmp_path) as paths:
        for path in paths:
            path.write_text("second")
    assert contents(tmp_path) == {"core.keras": "second", "core.csv": "second"}


def _writing(folder: Path) -> AbstractContextManager[list[Path]]:
    return atomic(folder / "core.keras", folder / "core.csv")


def test_metrics_are_json_that_ends_its_last_line(tmp_path: Path) -> None:
    values = {"score": 0.8636, "resolved": {"loss": "bce_dice"}, "epochs": 47}
    write_json(tmp_path / "seed.json", values)
    text = (tmp_path / "seed.json").read_text()
    assert json.loads(text) == values
    assert text.endswith("}\n")
    assert len(text.splitlines()) == 7


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_output(path, READERS[path.name])
    (line,) = str(caught.value).splitlines()
    return line


def test_what_was_written_is_read_and_what_is_absent_is_empty(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["row", "file"], [(3, "a, b"), (1, None)])
    write_json(tmp_path / "a.json", {"score": 0.5})
    np.savez_compressed(tmp_path / "a.npz", rows=np.arange(3))
    assert read_output(tmp_path / "a.csv", read_table) == [{"row": "3", "file": "a, b"}, {"row": "1", "file": ""}]
    assert read_output(tmp_path / "a.json", read_metrics) == {"score": 0.5}
    assert read_output(tmp_path / "a.npz", read_arrays)["rows"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", READERS)
def test_what_is_missing_is_named_with_the_way_to_have_it_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert refusal(path) == f"{path}: missing; `dvc checkout {path}` or `dvc repro` brings it back"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"\xff\xfe"),
        ("a.csv", b"row,score\n1\n"),
        ("a.csv", b"row,score\n1,2,3\n"),
        ("a.csv", b'row\n"' + b"1" * 200_000),
        ("a.json", b""),
        ("a.json", b"[1]"),
        ("a.json", b'{"score": '),
        ("a.json", b"\xff"),
        ("a.npz", b""),
        ("a.npz", b"PK\3\4"),
        ("a.npz", b"no archive"),
    ],
)
def test_what_is_damaged_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    line = refusal(path)
    assert line.startswith(f"{path}: ")
    assert line.endswith(f"; `dvc checkout --force {path}` restores it")


@given(st.data())
def test_arrays_of_which_bytes_were_lost_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("worst") / "a.npz"
    np.savez_compressed(path, rows=np.arange(5), predictions=np.zeros((5, 4, 4, 1), np.float32))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(place, len(content)))])
    with suppress(UserError):  # any other error would end a stage with a trace
        read_output(path, read_arrays)
