"""Command `export_core` for labelling tools, and for the suspects."""

import csv
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import export_core
from stages.datasets.shared.source import open_source
from stages.datasets.shared.tiles import TileSource
from stages.labelling.formats import FORMATS
from stages.pairs.layout import IGNORED, Block, Layout, PixelClass
from stages.pairs.read import Pairs
from stages.pairs.tables import write_csv
from stages.pairs.write import copy_rows, create, finish, write_shard
from stages.pipeline import paths
from stages.pipeline.errors import UserError
from tests.cores import SIZE, files_below, random_images, random_masks, read_again, read_image, write_core, write_photos
from tests.labelled import (
    BINARY,
    FILES_OF,
    Masks,
    drawn,
    read_coco,
    read_cvat,
    read_fiftyone,
    read_json,
    read_label_studio,
    tags_of,
)
from tests.project import dataset_options

ROWS = [10, 2, 7]
SUSPECTS: list[tuple[int, float | None, str]] = [
    (7, 0.0, "core"),
    (2, 0.25, "fold"),
    (11, 0.5, "fold"),
    (10, 1.1, "core"),
    (0, None, "none"),
]
CLASSES = [PixelClass("background", 0, "#000000"), PixelClass("road", 7, "#804080"), PixelClass("car", 26, "#00008e")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that is empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def made(folder: Path) -> Pairs:
    """A pool of twelve pairs with masks of 0 and 1, its core and the tables of both."""
    core = write_core(random_images(12), random_masks(12), rows=ROWS)
    write_csv(
        paths.CORE_TABLE, ["row", "order", "score", "epochs"], [[7, 1, 0.5, 12], [10, 0, None, 0], [2, 2, 0.75, 3]]
    )
    write_csv(paths.SUSPECTS, ["row", "score", "judged_by"], SUSPECTS)
    return core


def write_classes(classes: Sequence[PixelClass] = CLASSES, parameters: Mapping[str, Any] | None = None) -> Pairs:
    """A pool and its core whose masks are of two classes."""
    layout = Layout(3, (SIZE, SIZE, 3), "uint8", len(classes), "pixels")
    attributes = {"classes": classes, "parameters": parameters or {}}
    create(paths.POOL, layout, attributes)
    masks = np.stack([drawn(SIZE, SIZE, seed)[:, :, None] for seed in range(3)])
    finish(paths.POOL, write_shard(paths.POOL, layout, 0, Block(random_images(3), masks)))
    pool = Pairs(paths.POOL)
    copy_rows(pool, np.array([2, 0]), paths.CORE, {"core_of": pool.attributes})
    write_csv(paths.CORE_TABLE, ["row", "order", "score", "epochs"], [[2, 0, None, 0], [0, 1, 0.5, 2]])
    return Pairs(paths.CORE)


def masks_of(pairs: Pairs, names: list[str]) -> Masks:
    return {name: mask[:, :, 0] for name, mask in zip(names, pairs.read(range(len(pairs))).targets, strict=True)}


def same_masks(found: Masks, expected: Masks) -> bool:
    return list(found) == list(expected) and all(np.array_equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", FORMATS)
def test_the_core_is_written_as_images_and_the_files_of_a_tool(name: str, made: Pairs, folder: Path) -> None:
    export_core.main(["core", "--format", name])
    export_core.main(["files"])
    images = [f"images/{row:08d}.png" for row in ROWS]
    assert files_below(folder / "core") == sorted([*images, *FILES_OF[name]])
    for image in images:
        assert (folder / "core" / image).read_bytes() == (folder / "files" / image).read_bytes()


def test_the_masks_of_the_core_are_those_that_the_tools_get(made: Pairs, folder: Path) -> None:
    for name in FORMATS:
        export_core.main([name, "--format", name])
    expected = masks_of(made, [f"{row:08d}.png" for row in ROWS])
    assert same_masks(read_coco(folder / "coco"), expected)
    assert same_masks(read_cvat(folder / "cvat", BINARY), expected)
    assert same_masks(read_label_studio(folder / "label_studio", BINARY), expected)
    assert same_masks(read_fiftyone(folder / "fiftyone"), expected)
    assert tags_of(folder / "cvat") == {
        "00000010.png": {"row": "10", "order": "0", "epochs": "0"},
        "00000002.png": {"score": "0.75", "row": "2", "order": "2", "epochs": "3"},
        "00000007.png": {"score": "0.5", "row": "7", "order": "1", "epochs": "12"},
    }


def test_masks_of_classes_have_their_names_in_the_tools_and_their_numbers_in_files(folder: Path) -> None:
    core = write_classes()
    for name in ("files", "coco", "cvat"):
        export_core.main([name, "--format", name])
    expected = masks_of(core, ["00000002.png", "00000000.png"])
    assert any((mask == IGNORED).any() for mask in expected.values())
    for image, mask in expected.items():
        values = np.array([0, 7, 26, *range(3, 256)], np.uint8)[mask]
        assert np.array_equal(read_image(folder / "files/masks" / image), values)
    assert (folder / "files/classes.csv").read_text().splitlines()[1:] == [
        "0,background,#000000",
        "7,road,#804080",
        "26,car,#00008e",
        "255,ignored,#808080",
    ]
    assert same_masks(read_coco(folder / "coco"), expected)
    labels = read_json(folder / "cvat/labels.json")
    assert [(label["name"], label["color"]) for label in labels[:3]] == [
        ("road", "#804080"),
        ("car", "#00008e"),
        ("ignored", "#808080"),
    ]


SET_BY: dict[str, dict[str, Any]] = {
    "values": {"mask_values": [7, 26], "ignore_value": 33},
    "0 is a class": {"mask_values": [0, 26], "ignore_value": 7},
    "0 is ignored": {"mask_values": [1, 2], "ignore_value": 0},
    "colours": {"class_colors": ["#808080", "#804080"], "ignore_value": "#e0e0c0"},
}


@pytest.mark.parametrize("name", ["files", "coco"])
@pytest.mark.parametrize("set_by", SET_BY.values(), ids=SET_BY)
def test_what_is_written_of_classes_is_read_again_by_the_parameters_that_are_printed(
    folder: Path, capsys: pytest.CaptureFixture[str], set_by: dict[str, Any], name: str
) -> None:
    colors = set_by.get("class_colors", ["#804080", "#00008e"])
    values = set_by.get("mask_values") or [int(color[1:], 16) for color in colors]
    classes = [CLASSES[0], *map(PixelClass, ["road", 'a "cär"'], values, colors)]
    made_by = {"name": "folder", "path": "photos", "classes": ["road", 'a "cär"'], **set_by}
    written = masks_of(write_classes(classes, made_by), ["00000002.png", "00000000.png"])
    export_core.main(["out", "--format", name])
    source = open_source(dataset_options(**{**made_by, **printed_settings(capsys)}, test_share=0.0), "train")
    assert isinstance(source, TileSource)
    assert [each.name for each in source.classes] == [each.name for each in classes]
    assert source.classes[0] == CLASSES[0]
    read = source.draw(range(2)).targets[..., 0]
    for (image, *_), mask in zip(source.origins.files, read, strict=True):
        assert np.array_equal(mask, written[Path(image).name])


def test_masks_whose_value_was_0_are_read_again_as_they_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_by: dict[str, Any] = {"name": "folder", "path": "photos", "mask_values": [0], "masks": "labels/*"}
    core = write_core(random_images(3), random_masks(3), **made_by)
    export_core.main(["out"])
    settings = {**made_by, **printed_settings(capsys)}
    found = read_again(settings.pop("path"), 3, **{key: settings[key] for key in settings if key != "name"})
    assert np.array_equal(found.targets, core.read([0, 1, 2])[1])


def test_parts_and_ranges_of_a_set_are_those_of_its_files_no_more(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_by: dict[str, Any] = {"name": "folder", "path": "photos", "value_range": [50, 150], "train_count": 600}
    made_by |= {"test_pattern": "^images/test/", "group_pattern": "(.)_"}
    core = write_core(random_images(3), random_masks(3), **made_by)
    export_core.main(["out"])
    settings = {**made_by, **printed_settings(capsys)}
    found = read_again(settings.pop("path"), 3, **{key: settings[key] for key in settings if key != "name"})
    assert np.array_equal(found.images, core.read([0, 1, 2])[0])


def printed_settings(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The parameters that the command says make the same pairs."""
    line = capsys.readouterr().out.splitlines()[-1]
    assert "\\u" not in line  # DVC knows no such escapes
    words = [word for word in shlex.split(line.removeprefix("read again by ")) if word != "-S"]
    settings = (word.removeprefix("dataset.").split("=", 1) for word in words)
    return {key: value if key in ("name", "path", "value_range") else json.loads(value) for key, value in settings}


@pytest.mark.parametrize("count", [None, 4, 2])
def test_suspects_are_written_worst_first_with_their_table(made: Pairs, folder: Path, count: int | None) -> None:
    export_core.main(["out", "--of", "suspects", *([] if count is None else ["--count", str(count)])])
    suspects = SUSPECTS[:count]
    names = [f"{row:08d}" for row, *_ in suspects]
    with (folder / "out/suspects.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    assert lines == [
        ["image", "score", "rank", "row", "judged_by"],
        *(
            [name, "" if score is None else str(score), str(rank), str(row), judged_by]
            for rank, (name, (row, score, judged_by)) in enumerate(zip(names, suspects, strict=True), 1)
        ),
    ]
    pool = Pairs(paths.POOL).in_order(np.array(sorted(row for row, *_ in suspects)))
    for found, expected in zip(read_again("out", len(suspects)), pool.read(range(len(pool))), strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("name", FORMATS)
def test_suspects_are_in_the_order_of_their_table_in_the_files_of_a_tool(name: str, made: Pairs, folder: Path) -> None:
    export_core.main(["out", "--of", "suspects", "--count", "4", "--format", name])
    rows = [row for row, *_ in SUSPECTS[:4]]
    pool = Pairs(paths.POOL).in_order(np.array(rows))
    readers = {
        "coco": read_coco,
        "cvat": lambda path: read_cvat(path, BINARY),
        "label_studio": lambda path: read_label_studio(path, BINARY),
        "fiftyone": read_fiftyone,
    }
    assert same_masks(readers[name](folder / "out"), masks_of(pool, [f"{row:08d}.png" for row in rows]))


def test_suspects_of_files_have_the_names_of_their_tiles_and_originals(folder: Path) -> None:
    write_photos(folder)
    write_csv(paths.SUSPECTS, ["row", "score", "judged_by"], [[11, 0.1, "core"], [6, 0.2, "fold"]])
    export_core.main(["tiles", "--of", "suspects", "--format", "coco"])
    images = read_json(folder / "tiles/annotations/instances_default.json")["images"]
    assert [image["file_name"] for image in images] == ["b.c_16_32.png", "b.c_0_0.png"]
    export_core.main(["whole", "--of", "suspects", "--originals"])
    assert files_below(folder / "whole") == ["images/b.c.png", "masks/b.c.png"]
    write_csv(paths.SUSPECTS, ["row", "score", "judged_by", "file"], [[11, 0.1, "core", "images/a.png"]])
    line = r"data/suspects\.csv: line 2: row 11 is images/a\.png, in the pool at hand it is images/b\.c\.png"
    with pytest.raises(UserError, match=line):
        export_core.main(["other", "--of", "suspects"])


@pytest.mark.parametrize("name", FORMATS)
def test_labels_are_refused_for_tools_and_nothing_is_left(name: str, folder: Path) -> None:
    write_core(random_images(4), np.array([[3], [0], [9], [3]], np.uint8), classes=10)
    write_csv(paths.CORE_TABLE, ["row", "order", "score", "epochs"], [[row, row, None, 0] for row in range(4)])
    with pytest.raises(UserError, match=r"^data/core\.zarr: its pairs have labels; the files of labelling tools are"):
        export_core.main(["out", "--format", name])
    assert not list(folder.glob("out*"))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--originals", "--format", "coco"], r"^--originals copies whole files; --format coco writes the pairs"),
        (["--count", "3"], r"^--count is 3, allowed is at least 1, and with --of suspects alone$"),
        (["--of", "suspects", "--count", "0"], r"^--count is 0, allowed is at least 1"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words: list[str], line: str, made: Pairs, folder: Path) -> None:
    with pytest.raises(UserError, match=line):
        export_core.main(["out", *words])
    assert not list(folder.glob("out*"))


@pytest.mark.parametrize(
    ("table", "content", "line"),
    [
        (paths.SUSPECTS, "row,score,judged_by\n", r"^data/suspects\.csv: no suspects in it; `dvc checkout --force"),
        (paths.SUSPECTS, "row,score,judged_by\n12,0.5,core\n", r"^data/suspects\.csv: line 2: row is '12', allowed is"),
        (paths.SUSPECTS, None, r"^data/suspects\.csv: missing; `dvc checkout"),
        (paths.CORE_TABLE, "row,order,score,epochs\n7,0,,0\n", r"^data/core\.csv: damaged: no line of row 10, which"),
        (paths.CORE_TABLE, None, r"^data/core\.csv: missing; `dvc checkout"),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(
    table: Path, content: str | None, line: str, made: Pairs, folder: Path
) -> None:
    table.write_text(content, encoding="utf-8") if content is not None else table.unlink()
    with pytest.raises(UserError, match=line):
        export_core.main(["out", "--format", "coco", "--of", "core" if table == paths.CORE_TABLE else "suspects"])
    assert not list(folder.glob("out*"))
