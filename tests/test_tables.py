"""Tables of rows: what is written beside them, what is read of them, and the line that a damaged one ends in."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.pairs import tables
from stages.pairs.layout import Origins
from stages.pairs.tables import (
    HEADER,
    Choice,
    lines_of,
    read_choices,
    read_leaks,
    read_lines,
    read_rows,
    read_table,
    with_origins,
    write_csv,
)
from stages.pipeline import paths
from stages.pipeline.errors import UserError
from stages.pipeline.files import read_output
from tests.damage import examples, line_of, refused

COUNT = 8
ORIGINS = Origins(
    [["images/a.png", "masks/a.png"], ["images/b.png", "masks/b.png"]],
    np.array([[row // 4, 32 * (row % 4 // 2), 32 * (row % 2), row % 3] for row in range(COUNT)], np.int32),
)


def test_a_table_of_drawn_pairs_stays_as_it_is() -> None:
    header, lines = with_origins(HEADER, [(5, 0, None, 0)], [5], None)
    assert (header, lines) == (HEADER, [(5, 0, None, 0)])


def test_a_table_of_pairs_from_files_names_the_file_and_the_place_of_each() -> None:
    header, lines = with_origins(["row", "score"], [(6, 0.5), (1, None)], [6, 1], ORIGINS)
    assert header == ["row", "score", "file", "top", "left", "page"]
    assert list(lines) == [[6, 0.5, "images/b.png", 32, 0, 0], [1, None, "images/a.png", 0, 32, 1]]
    header, lines = with_origins(["row"], [], [], ORIGINS)
    assert (header, list(lines)) == (["row", "file", "top", "left", "page"], [])


def test_a_core_is_read_as_it_was_written_with_origins_or_without(tmp_path: Path) -> None:
    table = tmp_path / "core.csv"
    for origins in (None, ORIGINS):
        write_csv(table, *with_origins(HEADER, [(6, 0, None, 0), (1, 1, 0.25, 3)], [6, 1], origins))
        assert read_choices(table, COUNT) == [Choice(6, None, 0), Choice(1, 0.25, 3)]
        rows = read_rows(table, COUNT)
        assert (rows.tolist(), str(rows.dtype)) == ([6, 1], "int64")


def test_lines_of_columns_are_made_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LINES_AT_ONCE", 2)
    columns = np.arange(5), np.array([0.1, np.nan, 1.1, 0.0, 0.5]), np.array(["core", "fold", "none", "core", "core"])
    lines = lines_of(*columns)
    assert next(lines) == (0, 0.1, "core")
    columns[1][2:] = 0.75  # what comes later is not made yet
    assert list(lines) == [(1, None, "fold"), (2, 0.75, "none"), (3, 0.75, "core"), (4, 0.75, "core")]
    assert list(lines_of(np.empty(0), np.empty(0))) == []


scores = st.none() | st.floats(0, 1.1)


@given(st.dictionaries(st.integers(0, COUNT - 1), scores))
def test_rejected_rows_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, found: dict[int, float | None]
) -> None:
    table = tmp_path_factory.mktemp("data") / "rejected.csv"
    for origins in (None, ORIGINS):
        write_csv(table, *with_origins(["row", "score"], list(found.items()), [*found], origins))
        assert read_rows(table, COUNT, least=0).tolist() == list(found)
        assert [line.score() for line in read_lines(table, "score")] == list(found.values())


def test_lines_are_read_with_their_numbers_also_where_a_text_has_two(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["row", "file"], [(3, "a,\nb"), (1, None)])
    lines = list(read_lines(tmp_path / "a.csv", "file"))
    assert [(line.number, line.texts["file"]) for line in lines] == [(3, "a,\nb"), (4, "")]
    assert read_table(tmp_path / "a.csv") == [{"row": "3", "file": "a,\nb"}, {"row": "1", "file": ""}]
    assert read_table(tmp_path / "a.csv", most=1) == [{"row": "3", "file": "a,\nb"}]


# What is wrong in a table

TABLES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "first line '', expected the names of columns"),
    "a header alone": (b"row,order,score,epochs\n", "0 rows, expected at least 1"),
    "no column of rows": (b"order,score\n1,2\n", "first line 'order,score', expected a column 'row', and only one"),
    "two columns of rows": (b"row,row\n1,2\n", "first line 'row,row', expected a column 'row', and only one"),
    "a row past the end": (b"row\n8\n", "line 2: row is '8', allowed is a row from 0 to 7"),
    "a negative row": (b"row\n-1\n", "line 2: row is '-1'"),
    "a row that is no number": (b"row\n1\n2.0\n", "line 3: row is '2.0'"),
    "a row as Python writes it": (b"row\n0_1\n", "line 2: row is '0_1'"),
    "other digits": ("row\n\u0661\n".encode(), "line 2: row is '\u0661'"),
    "a row twice": (b"row\n3\n4\n3\n", "row 3 stands in line 2 and in line 4"),
    "too few columns": (b"order,row\n1\n", "line 2: 1 columns, expected 2"),
    "too many columns": (b"row\n1,2\n", "line 2: 2 columns, expected 1"),
    "an empty line": (b"row\n1\n\n", "line 3: 0 columns, expected 1"),
    "NUL bytes": (b"row\n\0\n", "line 2: row is '\\x00'"),
    "a huge number": (b"row\n" + b"9" * 5000 + b"\n", "line 2: row is '999"),
    "a huge text": (b"row\n" + b"1" * 10**6, "not a table: field larger than field limit"),
    "no text": (b"row\n\xff\n", "not a table: 'utf-8' codec can't decode"),
    "an open quote": (b'row\n"1\n2\n', "line 3: row is '1\\n2\\n'"),
}


@pytest.mark.parametrize(("content", "named"), TABLES.values(), ids=TABLES)
def test_a_table_that_is_no_core_is_refused_with_the_line(tmp_path: Path, content: bytes, named: str) -> None:
    path = tmp_path / "core.csv"
    path.write_bytes(content)
    line = refused(lambda: read_output(path, read_rows, COUNT))
    assert line.startswith(f"{path}: {named}")
    assert line.endswith(f"; `dvc checkout --force {path}` restores it")


@pytest.mark.parametrize(
    ("read", "content", "named"),
    [
        (read_choices, "row,score,epochs\n1,high,0\n", "line 2: score is 'high', allowed is a number, or nothing"),
        (read_choices, "row,score\n1,0.5\n", "first line 'row,score', expected a column 'epochs', and only one"),
        (read_choices, "row,score,epochs\n1,0.5,many\n", "line 2: epochs is 'many', allowed is a whole number"),
    ],
)
def test_scores_and_epochs_that_are_none_are_refused_with_the_line(
    tmp_path: Path, read: Any, content: str, named: str
) -> None:
    path = tmp_path / "rejected.csv"
    path.write_text(content)
    assert refused(lambda: read(path, COUNT)) == f"{path}: {named}"


def test_a_table_that_is_missing_or_a_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "core.csv"
    assert refused(lambda: read_rows(path, COUNT)) == f"{path}: cannot be read: No such file or directory"
    path.mkdir()
    assert refused(lambda: read_rows(path, COUNT)) == f"{path}: cannot be read: Is a directory"


@given(st.binary(max_size=80) | st.text('row,order\n\r"0123456789-+. _\t\0\u0661', max_size=60).map(str.encode))
@examples
def test_any_bytes_are_a_table_of_rows_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "core.csv"
    path.write_bytes(content)
    rows: list[int] = []
    line = line_of(lambda: rows.extend(read_output(path, read_rows, COUNT).tolist()))
    if line is None:
        assert rows
        assert len(set(rows)) == len(rows)
        assert all(0 <= row < COUNT and str(row).encode() in content for row in rows)
    else:
        assert line.startswith(f"{path}: ")


# Leaks

LEAK_HEADER = "first_set,first_row,second_set,second_row,kind,rows,columns,likeness\n"


def leaks(*lines: str, header: str = LEAK_HEADER) -> str:
    return header + "".join(f"{line}\n" for line in lines)


def test_leaking_rows_are_those_of_the_test_set_that_lie_across_each_once(tmp_path: Path) -> None:
    table = tmp_path / "leaks.csv"
    table.write_text(
        leaks(
            "pool,0,pool,1,exact,0,0,1.0",
            "pool,0,test,7,exact,0,0,1.0",
            "pool,2,test,3,near,0,0,0.9",
            "pool,4,test,3,shifted,0,9,0.7",
            "test,0,test,5,near,0,0,0.8",
        )
    )
    rows = read_output(table, read_leaks, COUNT)
    assert (rows.tolist(), str(rows.dtype)) == ([3, 7], "int64")
    table.write_text(leaks())
    assert read_output(table, read_leaks, COUNT).tolist() == []


@pytest.mark.parametrize(
    "content",
    [
        b"row\n1\n",
        b"\0\xff\xfe",
        leaks("pool,0,test,8,exact,0,0,1.0").encode(),
        leaks("pool,0,test,,exact,0,0,1.0").encode(),
        leaks("pool,0,test,7,exact,0,0,1.0")[:-17].encode(),
        leaks("pool,0,test,1,exact,0,0,1.0", header="").encode(),
    ],
)
def test_a_damaged_table_of_leaks_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    paths.LEAKS.parent.mkdir()
    paths.LEAKS.write_bytes(content)
    with pytest.raises(UserError, match=r"^data/leaks\.csv: .*; `dvc checkout --force data/leaks\.csv` restores it$"):
        read_output(paths.LEAKS, read_leaks, COUNT)
