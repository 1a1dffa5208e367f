"""Outputs of earlier stages, read again: whole, or refused in one line that says how to have them back."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.entry import write_csv, write_json
from stages.errors import UserError
from stages.outputs import read_arrays, read_metrics, read_output, read_table

READERS: dict[str, Callable[[Path], Any]] = {"a.csv": read_table, "a.json": read_metrics, "a.npz": read_arrays}


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_output(path, READERS[path.name])
    (line,) = str(caught.value).splitlines()
    return line


def test_what_was_written_is_read(tmp_path: Path) -> None:
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
    assert line.startswith(f"{path}: damaged: ")
    assert line.endswith(f"; `dvc checkout --force {path}` restores it")


@given(st.data())
@settings(deadline=None, max_examples=100)
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
