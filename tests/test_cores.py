"""Tables of rows of the pool: what is written beside them, and what is read of rejected pairs and of leaks."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.cores import HEADER, read_leaks, read_rows, read_scores, with_origins
from stages.entry import write_csv
from stages.errors import UserError
from stages.evaluate import LEAKS
from stages.outputs import read_output
from stages.select import _rejected
from stages.store import Origins
from stages.strategies import Choice, Walk

COUNT = 8
ORIGINS = Origins(
    [["images/a.png", "masks/a.png"], ["images/b.png", "masks/b.png"]],
    np.array([[row // 4, 32 * (row % 4 // 2), 32 * (row % 2)] for row in range(COUNT)], np.int32),
)
LEAK_HEADER = "first_set,first_row,second_set,second_row,kind,rows,columns,likeness\n"


def test_a_table_of_drawn_pairs_stays_as_it_is() -> None:
    header, lines = with_origins(HEADER, [(5, 0, None, 0)], [5], None)
    assert (header, lines) == (HEADER, [[5, 0, None, 0]])


def test_a_table_of_pairs_from_files_names_the_file_and_the_place_of_each() -> None:
    header, lines = with_origins(["row", "score"], [(6, 0.5), (1, None)], [6, 1], ORIGINS)
    assert header == ["row", "score", "file", "top", "left"]
    assert lines == [[6, 0.5, "images/b.png", 32, 0], [1, None, "images/a.png", 0, 32]]
    assert with_origins(["row"], [], [], ORIGINS) == (["row", "file", "top", "left"], [])


def test_a_table_with_origins_is_read_as_one_without(tmp_path: Path) -> None:
    table = tmp_path / "core.csv"
    write_csv(table, *with_origins(HEADER, [(6, 0, None, 0), (1, 1, 0.25, 3)], [6, 1], ORIGINS))
    assert read_rows(table, COUNT).tolist() == [6, 1]


def walk(chosen: list[int], scores: list[float]) -> Walk:
    started = Walk.start(len(scores), 0)
    started.chosen = [Choice(position, None) for position in chosen]
    started.scores = np.array(scores)
    return started


def test_rejected_rows_are_those_not_chosen_in_order_with_their_last_scores() -> None:
    found = _rejected(walk([0, 3], [np.nan, 0.9, 0.75, 0.5, np.nan]), np.array([9, 4, 7, 2, 1]))
    assert list(found.items()) == [(1, None), (4, 0.9), (7, 0.75)]
    assert all(score is None or type(score) is float for score in found.values())
    assert _rejected(walk([0, 1], [np.nan, 0.5]), np.array([1, 0])) == {}


scores = st.none() | st.floats(0, 1.1)


@given(st.dictionaries(st.integers(0, COUNT - 1), scores))
@settings(deadline=None, max_examples=50)
def test_rejected_rows_are_read_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, found: dict) -> None:  # type: ignore[type-arg]
    table = tmp_path_factory.mktemp("data") / "rejected.csv"
    for origins in (None, ORIGINS):
        write_csv(table, *with_origins(["row", "score"], list(found.items()), [*found], origins))
        assert list(read_output(table, read_scores, COUNT).items()) == list(found.items())


@pytest.mark.parametrize(
    "content",
    ["", "row\n1\n", "row,score\n1,high\n", "row,score\n8,0.5\n", "row,score\n1,0.5\n1,0.5\n", "row,score\n1\n"],
)
def test_a_damaged_table_of_rejected_rows_ends_in_one_line(tmp_path: Path, content: str) -> None:
    table = tmp_path / "rejected.csv"
    table.write_text(content)
    with pytest.raises(UserError, match=r"rejected\.csv: .*; `dvc checkout --force .*` restores it$") as caught:
        read_output(table, read_scores, COUNT)
    assert len(str(caught.value).splitlines()) == 1


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
        b"",
        b"\n",
        b"row\n1\n",
        b"\0\xff\xfe",
        leaks("pool,0,test,8,exact,0,0,1.0").encode(),
        leaks("pool,0,test,-1,exact,0,0,1.0").encode(),
        leaks("pool,0,test,x,exact,0,0,1.0").encode(),
        leaks("pool,0,test,,exact,0,0,1.0").encode(),
        leaks("pool,0,test,7,exact,0,0,1.0")[:-17].encode(),
        leaks("pool,0,test,1,exact,0,0,1.0", "pool,0,te").encode(),
        leaks("pool,0,test,1,exact,0,0,1.0", header="").encode(),
        leaks("pool,0,test," + "9" * 5000 + ",exact,0,0,1.0").encode(),
    ],
)
def test_a_damaged_table_of_leaks_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    LEAKS.parent.mkdir()
    LEAKS.write_bytes(content)
    with pytest.raises(UserError, match=r"^data/leaks\.csv: .*; `dvc checkout --force data/leaks\.csv` restores it$"):
        read_output(LEAKS, read_leaks, COUNT)


def test_a_missing_table_of_leaks_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^data/leaks\.csv: missing; `dvc checkout data/leaks\.csv` or `dvc repro`"):
        read_output(LEAKS, read_leaks, COUNT)
    LEAKS.mkdir(parents=True)
    with pytest.raises(
        UserError, match=r"^data/leaks\.csv: cannot be read: not a file; `dvc checkout --force data/leaks\.csv`"
    ):
        read_output(LEAKS, read_leaks, COUNT)
