"""The stage `audit`: it lists the copies that were planted and counts them, however many workers look for them."""

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages import audit, generate
from stages.pairs import collisions
from stages.pairs.collisions import CROWD
from stages.pairs.layout import Origins
from stages.pipeline import paths
from stages.pipeline.errors import UserError
from stages.pipeline.progress import Progress
from stages.pipeline.workers import workers
from tests.conftest import Change
from tests.files import noise, save
from tests.project import ROOT, run, succeed
from tests.sets import brightened, jpeg, rescaled, scenes, window, write_set

POOL, TEST = 20, 10
SIZE = 64
STARTS = (0, 16)  # of tiles
NOTHING = {"exact": 0, "near": 0, "shifted": 0}


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    return scenes(POOL + TEST, size=SIZE)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read and compared at once is little, so that there are many blocks of it."""
    monkeypatch.setattr(collisions, "BLOCK", 7)
    monkeypatch.setattr(collisions, "PART_BYTES", 20_000)
    monkeypatch.setattr(audit, "AT_ONCE", 2)


def write(drawn: np.ndarray, planted: dict[tuple[str, int], np.ndarray], **origins: Origins) -> None:
    """A pool and a test set of unlike images, but for those planted."""
    images = np.stack([window(scene) for scene in drawn])
    for name, rows in (("pool", slice(POOL)), ("test", slice(POOL, None))):
        some = images[rows].copy()
        for (owner, row), image in planted.items():
            if owner == name:
                some[row] = image
        write_set(audit.SETS[name], some, origins=origins.get(name))


def plant(drawn: np.ndarray) -> None:
    """Copies within the pool, within the test set and across, of each kind."""
    (twice, near, moved, *_), tested = drawn, drawn[POOL:]
    write(
        drawn,
        {
            ("pool", 8): window(twice),
            ("pool", 9): jpeg(window(near)),
            ("test", 1): window(tested[0]),
            ("test", 3): window(tested[2], -SIZE // 4, 3),
            ("test", 5): window(drawn[3]),
            ("test", 6): brightened(window(drawn[4])),
            ("test", 7): rescaled(window(drawn[5])),
            ("test", 8): window(moved, 0, SIZE // 4),
            ("test", 9): window(twice),
        },
    )


PLANTED = [
    ("pool", 0, "pool", 8, "exact", 0, 0),
    ("pool", 0, "test", 9, "exact", 0, 0),
    ("pool", 1, "pool", 9, "near", 0, 0),
    ("pool", 2, "test", 8, "shifted", 0, SIZE // 4),
    ("pool", 3, "test", 5, "exact", 0, 0),
    ("pool", 4, "test", 6, "near", 0, 0),
    ("pool", 5, "test", 7, "near", 0, 0),
    ("test", 0, "test", 1, "exact", 0, 0),
    ("test", 2, "test", 3, "shifted", -SIZE // 4, 3),
]
COUNTED = {
    "within_pool": {"exact": 1, "near": 1, "shifted": 0},
    "within_test": {"exact": 1, "near": 0, "shifted": 1},
    "across": {"exact": 2, "near": 2, "shifted": 1},
    "leaking_test_pairs": 5,
}


def leaks() -> list[dict[str, str]]:
    with paths.LEAKS.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def listed() -> list[tuple[str, int, str, int, str, int, int]]:
    return [
        (
            line["first_set"],
            int(line["first_row"]),
            line["second_set"],
            int(line["second_row"]),
            line["kind"],
            int(line["rows"]),
            int(line["columns"]),
        )
        for line in leaks()
    ]


def counted() -> dict[str, Any]:
    values: dict[str, Any] = json.loads(paths.AUDIT_METRICS.read_text())
    return values


def outputs() -> tuple[bytes, dict[str, Any]]:
    """What a run writes, but for the time it took."""
    return paths.LEAKS.read_bytes(), {key: value for key, value in counted().items() if key != "seconds"}


def test_planted_copies_are_listed_and_counted(workspace: Path, drawn: np.ndarray) -> None:
    plant(drawn)
    audit.main()
    assert list(leaks()[0]) == audit.HEADER
    assert listed() == PLANTED
    assert {key: counted()[key] for key in COUNTED} == COUNTED
    assert set(counted()) == {*COUNTED, "candidates", "crowded_places", "seconds"}
    assert counted()["crowded_places"] == 0
    likeness = {line["kind"]: float(line["likeness"]) for line in leaks()}
    assert likeness["exact"] == 1
    assert all(value >= 0.5 for value in likeness.values())
    assert not list(Path(".traincore").glob("checkpoints/*/*/"))


def test_sets_without_copies_have_no_leaks(workspace: Path, drawn: np.ndarray) -> None:
    write(drawn, {})
    audit.main()
    assert paths.LEAKS.read_text() == ",".join(audit.HEADER) + "\n"
    assert {key: counted()[key] for key in COUNTED} == {
        **dict.fromkeys(("within_pool", "within_test", "across"), NOTHING),
        "leaking_test_pairs": 0,
    }


def test_the_stage_of_its_own_lists_them_too(workspace: Path, drawn: np.ndarray) -> None:
    shutil.copytree(ROOT / "stages", "stages", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    plant(drawn)
    succeed(workspace, sys.executable, "-B", "-m", "stages.audit", TRAINCORE_WORKERS="2")
    assert listed() == PLANTED
    shard = Path("data/test.zarr/images/c/0/0/0/0")
    before = outputs()
    shard.unlink()
    failed = run(workspace, sys.executable, "-B", "-m", "stages.audit", DVC_STAGE="audit")
    assert failed.returncode == 1
    assert failed.stderr.startswith("audit: data/test.zarr/images")
    assert "dvc checkout" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    assert outputs() == before


@pytest.mark.usefixtures("small_blocks")
def test_any_number_of_workers_and_any_blocks_write_the_same(
    workspace: Path, drawn: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(drawn)
    found = []
    for count, block in (("1", 7), ("3", 7), ("2", 256)):
        monkeypatch.setenv("TRAINCORE_WORKERS", count)
        monkeypatch.setattr(collisions, "BLOCK", block)
        audit.main()
        found.append(outputs())
    assert found[1:] == found[:1] * 2
    assert listed() == PLANTED


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("unit", "marked"), [("image", 14), ("part of the hashes", POOL + TEST), ("candidate", POOL + TEST)]
)
def test_an_interrupted_run_goes_on_and_ends_in_the_same_table(
    workspace: Path, drawn: np.ndarray, monkeypatch: pytest.MonkeyPatch, unit: str, marked: int
) -> None:
    plant(drawn)
    audit.main()
    straight = outputs()
    paths.LEAKS.unlink()

    class Stopped(Progress):
        def show(self, done: int, **figures: float | None) -> None:
            super().show(done, **figures)
            if self._bar.unit == unit and done >= marked:
                raise KeyboardInterrupt

        def turn_to(self, total: int, unit_of_it: str) -> None:
            super().turn_to(total, unit_of_it)
            if unit_of_it == unit:
                raise KeyboardInterrupt

    monkeypatch.setattr(audit, "workers", lambda _, *prepare: workers(None, *prepare))
    with monkeypatch.context() as patch:
        patch.setattr(audit, "Progress", Stopped)
        with pytest.raises(KeyboardInterrupt):
            audit.main()
    assert not paths.LEAKS.exists()
    assert len(list(Path(".traincore").glob("checkpoints/audit/*/"))) == 1
    starts: list[int] = []
    mark_block = audit._mark_block

    def mark_and_note(images: audit.Images, block: tuple[Path, int]) -> None:
        starts.append(block[1])
        mark_block(images, block)

    monkeypatch.setattr(audit, "_mark_block", mark_and_note)
    audit.main()
    assert outputs() == straight
    assert starts == list(range(marked, POOL + TEST, 7))
    assert not list(Path(".traincore").glob("checkpoints/audit/*/"))


def test_each_of_many_exact_copies_is_listed_with_the_first_and_never_as_near(
    workspace: Path, drawn: np.ndarray
) -> None:
    image = window(drawn[0])
    write(drawn, {("pool", 4): image, ("pool", 7): image, ("test", 2): image, ("test", 6): image})
    audit.main()
    assert [line[:5] for line in listed()] == [
        ("pool", 0, "pool", 4, "exact"),
        ("pool", 0, "pool", 7, "exact"),
        ("pool", 0, "test", 2, "exact"),
        ("pool", 0, "test", 6, "exact"),
    ]
    assert counted()["leaking_test_pairs"] == 2
    assert counted()["candidates"] == 0


def test_flat_images_are_copies_only_if_they_are_the_same_and_not_of_one_colour(
    workspace: Path, drawn: np.ndarray
) -> None:
    blue = np.full((SIZE, SIZE, 3), (0, 0, 9), np.uint8)
    almost, unlike = blue.copy(), blue.copy()
    almost[0, 0] = 10
    unlike[0, 1] = 10
    blank = {("pool", 1): blue, ("test", 0): blue}
    write(drawn, {**blank, ("pool", 3): almost, ("test", 4): almost, ("test", 5): unlike})
    audit.main()
    assert listed() == [("pool", 3, "test", 4, "exact", 0, 0)]
    assert counted()["candidates"] == 0


def test_a_crowd_of_exact_copies_is_found_though_its_marks_are_passed_over(workspace: Path) -> None:
    (scene,) = scenes(1, size=32)
    write_set(audit.SETS["pool"], np.stack([window(scene)] * (CROWD + 1)))
    write_set(audit.SETS["test"], window(scene)[None])
    audit.main()
    assert len(leaks()) == CROWD + 1
    assert {line["kind"] for line in leaks()} == {"exact"}
    assert counted()["candidates"] == 0
    assert counted()["crowded_places"] >= 4


def test_images_of_the_same_checksum_that_differ_are_no_copies(
    workspace: Path, drawn: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(drawn)
    monkeypatch.setattr(audit.Images, "checksums", lambda images: np.zeros(len(images), np.uint32))
    audit.main()
    assert {line[:4] for line in listed() if line[4] == "exact"} == {line[:4] for line in PLANTED[:2]}


def test_less_likeness_finds_more(workspace: Path, drawn: np.ndarray, change: Change) -> None:
    plant(drawn)
    change(**{"audit.likeness": 0.9999})
    audit.main()
    assert {line[4] for line in listed()} == {"exact"}
    assert len(listed()) == 4


def tiles_of(scene: np.ndarray) -> np.ndarray:
    """Four tiles that overlap by three quarters and more."""
    return np.stack([scene[top : top + SIZE, left : left + SIZE] for top in STARTS for left in STARTS])


def origins(*files: str) -> Origins:
    places = [(file, top, left, 0) for file in range(len(files)) for top in STARTS for left in STARTS]
    return Origins([[f"images/{name}", f"masks/{name}"] for name in files], np.array(places, np.int32))


def test_tiles_of_one_file_may_overlap_and_be_the_same(workspace: Path, drawn: np.ndarray) -> None:
    same = np.stack([window(drawn[2])] * 4)
    pool, test = np.concatenate([tiles_of(drawn[0]), same]), tiles_of(drawn[1])
    write_set(audit.SETS["pool"], pool)
    write_set(audit.SETS["test"], test)
    audit.main()
    assert {line[4] for line in listed()} == {"exact", "shifted"}  # as long as no one says where they are from
    for name, images, known in (("pool", pool, origins("a.png", "b.png")), ("test", test, origins("c.png"))):
        shutil.rmtree(audit.SETS[name])
        write_set(audit.SETS[name], images, origins=known)
    audit.main()
    assert listed() == []


def test_tiles_of_two_files_are_listed_with_their_places(workspace: Path, drawn: np.ndarray) -> None:
    write_set(audit.SETS["pool"], np.concatenate([*map(tiles_of, drawn[:2])]), origins=origins("a", "b"))
    write_set(audit.SETS["test"], tiles_of(drawn[1]), origins=origins("again"))
    audit.main()
    exact = [line for line in leaks() if line["kind"] == "exact"]
    places = [f"{name}_{part}" for name in ("first", "second") for part in ("file", "top", "left", "page")]
    assert list(exact[0]) == [*audit.HEADER, *places]
    assert [[line[place] for place in places] for line in exact] == [
        ["images/b", top, left, "0", "images/again", top, left, "0"]
        for top in map(str, STARTS)
        for left in map(str, STARTS)
    ]
    assert all(line["first_file"] == "images/b" and line["second_file"] == "images/again" for line in leaks())
    for line in leaks():
        rows, columns = (int(line[f"second_{part}"]) - int(line[f"first_{part}"]) for part in ("top", "left"))
        assert (int(line["rows"]), int(line["columns"])) == (rows, columns)
    assert counted()["leaking_test_pairs"] == 4


def test_a_disk_without_room_for_the_hashes_ends_in_one_line_before_any_work(
    workspace: Path, drawn: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(drawn, {})
    monkeypatch.setattr("stages.pipeline.disk.free_bytes", lambda _: collisions.BYTES * (POOL + TEST) - 1)
    monkeypatch.setattr(audit, "_mark_block", None)
    with pytest.raises(UserError, match=r"0\.3 MB are needed on its disk"):
        audit.main()
    assert not paths.LEAKS.exists()


def test_a_test_set_without_a_pool_is_refused(workspace: Path, drawn: np.ndarray) -> None:
    write_set(audit.SETS["test"], drawn[:2])
    with pytest.raises(UserError, match=r"data/train\.zarr: missing"):
        audit.main()
    assert not paths.LEAKS.exists()


def test_palettes_in_which_a_class_has_another_colour_in_the_test_set_are_refused(
    change: Change, tmp_path: Path
) -> None:
    change(**{"dataset.name": "folder", "dataset.path": str(tmp_path / "files"), "dataset.image_size": 16})
    change(**{"dataset.classes": ["cat", "dog"], "dataset.test_pattern": "test", "seed_training.count": 1})
    (tmp_path / "files/masks").mkdir(parents=True)
    numbers = np.arange(256, dtype=np.uint8).reshape(16, 16) % 3
    red, green = [255, 0, 0], [0, 255, 0]

    def imported(of_test: list[int]) -> None:
        for name, colours in (("pool", red + green), ("test", of_test)):
            save(tmp_path / f"files/images/{name}.png", noise(16, 16, seed=len(name + str(of_test))))
            mask = Image.fromarray(numbers)
            mask.putpalette([0, 0, 0, *colours])
            mask.save(tmp_path / f"files/masks/{name}.png")
        generate.main("train")
        generate.main("test")

    imported(green + red)
    with pytest.raises(UserError, match=r"^data/test\.zarr: palettes of its masks give cat the colour #00ff00, those"):
        audit.main()
    assert not paths.LEAKS.exists()
    imported(red + green)
    audit.main()
