"""Candidates that are found part by part in files: the same as in memory, however small the parts are."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.pairs import collisions
from stages.pairs.collisions import are_marked, collide, vote, write_marks
from stages.pairs.copies import Marks
from stages.pipeline.progress import Progress
from stages.pipeline.workers import workers
from tests.candidates import in_memory, part_of, through_files


def drawn(count: int, corners: int, values: int, seed: int) -> Marks:
    """Marks of images of which many are alike: parts of hashes have few values, corners few places."""
    random = np.random.default_rng(seed)
    image = np.sort(random.integers(0, max(1, count), count * corners)).astype(np.int32)
    whole = random.choice(random.integers(0, 2**64, values, np.uint64), count) ^ random.integers(0, 4, count, np.uint64)
    corner = random.integers(0, values, (len(image), 8), np.uint32) * random.integers(1, 2**30, 8, np.uint32)
    corner[random.random(len(image)) < 0.5] = corner[:1]  # collide in all parts, often too many of them
    place = random.integers(0, 5, (len(image), 2)) * np.float32(6.3)
    return Marks(whole, random.random(count) < 0.2, image, place.astype(np.float32), corner.view(np.uint8))


@given(
    count=st.integers(0, 25),
    corners=st.integers(0, 8),
    values=st.integers(2, 20),
    seed=st.integers(0, 2**16),
    bounds=st.fixed_dictionaries(
        {
            "BLOCK": st.integers(3, 40),
            "PART_BYTES": st.integers(500, 5000),
            "PAIRS_AT_ONCE": st.integers(20, 500),
            "CROWD": st.integers(2, 12),
        }
    ),
)
def test_any_parts_lead_to_the_candidates_that_are_found_in_memory(
    count: int, corners: int, values: int, seed: int, bounds: dict[str, int]
) -> None:
    marks = drawn(count, corners, values, seed)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in bounds.items():
            patch.setattr(collisions, name, value)
        found, expected = through_files(marks), in_memory(marks)
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.shifts, expected.shifts)
    assert found.crowds == expected.crowds


def test_what_is_drawn_holds_candidates_of_each_kind_and_crowds() -> None:
    found = in_memory(drawn(30, 8, 9, seed=0))
    alone = np.isnan(found.shifts).any(axis=1)
    assert alone.any()
    assert not alone.all()
    assert found.crowds


def test_no_part_and_no_run_is_larger_than_its_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ten times as many images make more parts, not larger ones; nor does a hash that all of them share."""
    monkeypatch.setattr(collisions, "BLOCK", 50)
    monkeypatch.setattr(collisions, "PART_BYTES", 20_000)
    monkeypatch.setattr(collisions, "PAIRS_AT_ONCE", 1000)
    monkeypatch.setattr(collisions, "CROWD", 8)
    read: list[int] = []
    take = collisions._read

    def watched(part: collisions.Part) -> np.ndarray:
        read.append(take(part).nbytes)
        return take(part)

    monkeypatch.setattr(collisions, "_read", watched)
    parts = {}
    for count in (200, 2000):
        read.clear()
        random = np.random.default_rng(0)
        image = np.repeat(np.arange(count, dtype=np.int32), 4)
        corner = random.integers(0, 2**32, (len(image), 8), np.uint32)
        corner[random.random(len(image)) < 0.3] = 7
        corner[:, 0] = random.integers(0, len(image) // 4, len(image))
        marks = Marks(
            np.zeros(count, np.uint64),
            np.ones(count, bool),
            image,
            np.zeros((len(image), 2), np.float32),
            corner.view(np.uint8),
        )
        for start in range(0, count, 50):
            write_marks(tmp_path, start, part_of(marks, start, start + 50))
        with workers(None, int) as here, Progress("test", 1, "image") as progress:
            collisions.find_candidates(tmp_path, count, here, progress)
        assert max(read) < 3 * 20_000
        parts[count] = len(read)
        assert all(np.load(run).nbytes <= 12 * (1000 + 8) for run in (tmp_path / "pairs").glob("*.npy"))
    assert parts[2000] > 5 * parts[200]


@pytest.mark.parametrize("name", ["whole", "corners", "places"])
def test_marks_that_are_missing_or_cut_off_are_not_taken_for_whole_ones(tmp_path: Path, name: str) -> None:
    write_marks(tmp_path, 0, drawn(20, 4, 5, seed=0))
    assert are_marked(tmp_path, 0)
    assert not are_marked(tmp_path, collisions.BLOCK)
    path = tmp_path / name / "0.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert not are_marked(tmp_path, 0)
    path.write_bytes(b"")
    assert not are_marked(tmp_path, 0)
    path.unlink()
    assert not are_marked(tmp_path, 0)


def test_a_part_that_is_done_twice_leaves_the_same_files(tmp_path: Path) -> None:
    write_marks(tmp_path, 0, drawn(30, 8, 9, seed=0))
    (part,) = collisions._parts(tmp_path, [tmp_path / "corners/0.npy"])
    runs, crowds = collide(None, part)
    (votes,) = collisions._parts(tmp_path, runs)
    path = vote(None, votes)
    before = {file: file.read_bytes() for file in (*runs, path)}
    write_marks(tmp_path, 0, drawn(30, 8, 9, seed=0))
    assert collide(None, part) == (runs, crowds)
    assert vote(None, votes) == path
    assert {file: file.read_bytes() for file in before} == before
    assert {file for file in tmp_path.rglob("*") if file.is_file()} - {*before} == {
        tmp_path / name / "0.npy" for name in ("whole", "corners", "places")
    }
