"""COCO's format: what polygons and runs mean, which files are whose, and what is said if something is wrong."""

import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages import export_core
from stages.datasets.shared.coco_file import sections
from stages.datasets.shared.sense import require_sense
from stages.datasets.shared.tally import Tally
from stages.pairs.layout import IGNORED, Block
from stages.pipeline.errors import UserError
from tests.cores import files_below, write_core
from tests.damage import examples, line_of
from tests.files import box, compressed, counted, make_coco, noise
from tests.project import dataset_options
from tests.sources import Opening

SIZE = 32
NAMES = ["a.png", "b.png", "c.png", "d.png"]
CATEGORIES = {7: "car", 3: "tree", 9: "road"}
COCO = Opening("coco", SIZE)
opened, drawn, refusal = COCO.opened, COCO.drawn, COCO.refusal


def thing(image: int, category: int, segmentation: Any, **more: Any) -> dict[str, Any]:
    """An annotation."""
    return {"image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": 0, **more}


def speckled(height: int = SIZE, width: int = SIZE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (height, width), np.uint8)


def painted(*areas: tuple[slice, slice, int], size: int = SIZE) -> np.ndarray:
    """A mask (h, w): rows, columns and value of each rectangle, one over the other."""
    mask = np.zeros((size, size), np.uint8)
    for rows, columns, value in areas:
        mask[rows, columns] = value
    return mask


CROWD = slice(0, 20), slice(0, 20)
CAR = slice(2, 10), slice(4, 12)
TREE = slice(6, 9), slice(10, 30)
FAR_TREE = slice(28, 31), slice(28, 31)


def scene() -> list[dict[str, Any]]:
    """A crowd of cars with a car and a tree in two parts, which overlap; two masks as runs; a road; nothing."""
    return [
        thing(1, 3, [box(10, 6, 30, 9), box(28, 28, 31, 31)]),
        thing(1, 7, [box(4, 2, 12, 10)]),
        thing(1, 7, counted(painted((*CROWD, 1))), iscrowd=1),
        thing(2, 3, counted(speckled())),
        thing(2, 9, compressed(speckled(seed=1))),
        thing(3, 9, [box(0, 0, SIZE, 4)]),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images; the last has no objects."""
    images = {name: noise(SIZE, SIZE, seed=seed) for seed, name in enumerate(NAMES)}
    return make_coco(tmp_path / "coco", scene(), images, CATEGORIES)


def content(folder: Path) -> Any:
    return json.loads((folder / "annotations.json").read_text())


def write(folder: Path, values: Any) -> None:
    (folder / "annotations.json").write_text(json.dumps(values))


# Masks of one class, and of several


def test_a_mask_is_the_union_of_all_objects(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = opened(folder)
    assert (found.layout.kind, found.classes, found.layout.count) == ("masks", [], 4)
    assert [list(files) for files in found.origins.files] == [[name] for name in NAMES]
    block, seen = found.draw_and_see(range(4))
    for name, image in zip(NAMES, block.images, strict=True):
        assert np.array_equal(image, np.asarray(Image.open(folder / name)))
    first, second, third, fourth = block.targets[..., 0]
    assert np.array_equal(first, painted((*CROWD, 1), (*CAR, 1), (*TREE, 1), (*FAR_TREE, 1)))
    assert np.array_equal(second, speckled() | speckled(seed=1))
    assert np.array_equal(third, painted((slice(0, 4), slice(None), 1)))
    assert not fourth.any()
    assert [seen[name].values for name in ("a.png", "d.png")] == [(0, 1), (0,)]
    assert [seen[name].foreground for name in ("a.png", "d.png")] == [first.sum(), 0]
    assert capsys.readouterr().err == ""


def test_named_classes_have_the_order_of_their_names(folder: Path) -> None:
    found = opened(folder, classes=["road", "tree"])
    assert (found.layout.kind, found.layout.classes) == ("classes", 3)
    background, road, tree = found.classes
    assert (background[:2], road[:2], tree[:2]) == (("background", 0), ("road", 9), ("tree", 3))
    assert [each.color for each in found.classes] == ["#000000", "#e69f00", "#56b4e9"]
    first, second, third, fourth = found.draw(range(4)).targets[..., 0]
    assert np.array_equal(first, painted((*TREE, 2), (*FAR_TREE, 2)))  # neither cars nor their crowd
    assert set(np.unique(second)) == {0, 1, 2}
    assert np.array_equal(second > 0, (speckled() | speckled(seed=1)) > 0)
    assert np.array_equal(third, painted((slice(0, 4), slice(None), 1)))
    assert not fourth.any()


def test_all_classes_stand_by_their_ids_and_the_smaller_object_on_top(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = opened(folder, classes="all")
    assert [each[:2] for each in found.classes] == [("background", 0), ("tree", 3), ("car", 7), ("road", 9)]
    block, seen = found.draw_and_see(range(4))
    first, second = block.targets[:2, ..., 0]
    # The car has 64 pixels, the tree 69.
    assert np.array_equal(first, painted((*CROWD, IGNORED), (*TREE, 1), (*FAR_TREE, 1), (*CAR, 2)))
    tree, road = speckled(), speckled(seed=1)
    small_on_top = [tree * 1, road * 3] if tree.sum() > road.sum() else [road * 3, tree * 1]
    assert np.array_equal(second, np.where(small_on_top[1] > 0, small_on_top[1], small_on_top[0]))
    assert [*seen["a.png"].values] == [0, 1, 2, IGNORED]
    assert seen["a.png"].foreground == ((first > 0) & (first != IGNORED)).sum()
    crowds, overlaps = capsys.readouterr().err.splitlines()
    assert crowds.startswith("warning: 1 objects have iscrowd=1; what no other covers is ignored: ")
    assert overlaps == (
        f"warning: 2 images where classes overlap, of which the smaller object is on top: {folder / 'a.png'}"
    )


def test_the_smaller_object_is_on_top_in_any_order_of_the_file(folder: Path) -> None:
    expected = drawn(folder, classes="all")
    values = content(folder)
    write(folder, {**values, "annotations": values["annotations"][::-1], "categories": values["categories"][::-1]})
    assert all(np.array_equal(*both) for both in zip(expected, drawn(folder, classes="all"), strict=True))


def test_a_category_called_background_is_no_class(folder: Path) -> None:
    values = content(folder)
    values["categories"][1]["name"] = "background"
    write(folder, values)
    found = opened(folder, classes="all")
    assert [each[:2] for each in found.classes] == [("background", 0), ("car", 7), ("road", 9)]
    assert np.array_equal(
        found.draw(range(1)).targets[0, ..., 0], painted((*CROWD, IGNORED), (*TREE, 0), (*FAR_TREE, 0), (*CAR, 1))
    )
    named = opened(folder, classes=["background", "car"])
    assert [each[:2] for each in named.classes] == [("background", 0), ("car", 7)]


def test_categories_of_one_name_are_refused_or_one_class(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = content(folder)
    values["categories"][2]["name"] = "tree"
    write(folder, values)
    drawn(folder)  # where categories do not matter
    said = f"{folder}/annotations.json: categories 3 and 9 are both called 'tree'"
    assert refusal(folder, classes="all") == f"{said}; dataset.strict=false takes them as one class"
    found = opened(folder, classes="all", strict=False)
    assert [each[:2] for each in found.classes] == [("background", 0), ("tree", 3), ("car", 7)]
    assert np.array_equal(found.draw(range(4)).targets[2, ..., 0], painted((slice(0, 4), slice(None), 1)))
    assert f"warning: {said}, and are taken as one class" in capsys.readouterr().err.splitlines()


def test_a_category_without_objects_is_no_fault_of_all(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = content(folder)
    values["categories"].append({"id": 0, "name": "things"})  # as Roboflow's, of which the others are parts
    write(folder, values)
    found = opened(folder, classes="all")
    assert [each.name for each in found.classes] == ["background", "things", "tree", "car", "road"]
    block, seen = found.draw_and_see(range(4))
    tally = Tally.of(block, seen, found.classes)
    require_sense(found, tally, "train", dataset_options("coco", classes="all"))
    assert "no mask of set train holds things; the classes in them are background, tree, car, road" in (
        capsys.readouterr().err
    )
    with pytest.raises(UserError, match="no mask of set train holds things"):
        require_sense(found, tally, "train", dataset_options("coco", classes=["things", "tree", "car", "road"]))


def test_classes_that_are_not_there_are_refused(folder: Path) -> None:
    line = refusal(folder, classes=["road", "bus"])
    assert line == (
        f"dataset.classes names 'bus', allowed are the categories of {folder}/annotations.json: tree, car, road"
    )
    values = content(folder)
    kinds = {number: f"kind {number}" for number in range(100, 355)}
    values["categories"] += [{"id": number, "name": kind} for number, kind in kinds.items()]
    write(folder, values)
    assert "dataset.classes makes 255 classes of" in refusal(folder, classes=[*kinds.values()])
    assert "allowed are the categories of" in refusal(folder, classes=["bus"])
    assert opened(folder, classes=["car"]).layout.classes == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [("mask_values", [1]), ("mask_threshold", 0.5), ("class_colors", ["#ff0000"]), ("ignore_value", 255)],
)
def test_options_of_masks_in_files_are_refused(folder: Path, key: str, value: Any) -> None:
    assert f"dataset.{key} is {value!r}, allowed is null" in refusal(folder, **{key: value})


# Images and tiles


def test_images_that_are_no_squares_are_cut_with_their_masks(tmp_path: Path) -> None:
    mask = speckled(SIZE + 8, SIZE + 24)
    make_coco(tmp_path, [thing(1, 3, counted(mask))], {"a.png": noise(*mask.shape)}, CATEGORIES)
    found = opened(tmp_path)
    assert found.origins.tiles[:, 1:].tolist() == [[top, left, 0] for top in (0, 8) for left in (0, 24)]
    for (_, top, left, _), tile in zip(found.origins.tiles.tolist(), found.draw(range(4)).targets, strict=True):
        assert np.array_equal(tile[..., 0], mask[top : top + SIZE, left : left + SIZE])


def test_scaled_masks_of_classes_hold_no_other_values(folder: Path) -> None:
    scaled = opened(folder, classes="all", tile=False, fit="resize", image_size=24, dtype="float32")
    block = scaled.draw(range(4))
    assert (block.images.shape, block.images.dtype) == ((4, 24, 24, 3), np.dtype("float32"))
    assert set(np.unique(block.targets[0])) == {0, 1, 2, IGNORED}
    padded = opened(folder, classes="all", tile=False, fit="pad", image_size=48).draw(range(1)).targets[0, ..., 0]
    assert np.array_equal(padded[:SIZE, :SIZE], drawn(folder, classes="all").targets[0, ..., 0])
    assert (padded[SIZE:] == IGNORED).all()
    assert (padded[:, SIZE:] == IGNORED).all()


def test_groups_stay_together_and_no_image_is_on_both_sides(folder: Path) -> None:
    split = {"test_pattern": "b", "group_pattern": "([ab]|[cd])"}
    train, test = (opened(folder, item, **split).origins.files for item in ("train", "test"))
    assert ([*map(list, train)], [*map(list, test)]) == ([["a.png"], ["c.png"], ["d.png"]], [["b.png"]])
    assert opened(folder, train_count=2).layout.count == 2


def test_workers_are_sent_runs_alone(tmp_path: Path) -> None:
    angles = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    circle = (np.stack([np.cos(angles), np.sin(angles)], axis=1) * 15 + 16).ravel().tolist()
    make_coco(tmp_path, [thing(1, 3, [circle])], {"a.png": noise(SIZE, SIZE)}, CATEGORIES)
    sent = pickle.dumps(opened(tmp_path))
    assert len(sent) < 5_000 < (tmp_path / "annotations.json").stat().st_size / 100
    (mask,) = pickle.loads(sent).draw(range(1)).targets
    assert mask.sum() == pytest.approx(np.pi * 15**2, rel=0.02)


@pytest.mark.parametrize("keys", [["annotations", "images", "categories"], ["categories", "annotations", "images"]])
def test_lists_may_stand_in_any_order(folder: Path, keys: list[str]) -> None:
    expected, values = drawn(folder, classes="all"), content(folder)
    (folder / "annotations.json").write_bytes(b"\xef\xbb\xbf" + json.dumps({key: values[key] for key in keys}).encode())
    assert all(np.array_equal(*both) for both in zip(expected, drawn(folder, classes="all"), strict=True))


def with_exif(folder: Path, orientation: int) -> np.ndarray:
    """A picture in the place of the last, oblong, and turned by EXIF; what it looks like then."""
    exif = Image.Exif()
    exif[274] = orientation
    stored = noise(SIZE, SIZE + 8)
    Image.fromarray(stored).save(folder / "d.png", exif=exif)
    return np.rot90(stored, -1)


def test_objects_are_drawn_on_the_image_as_it_is_shown(folder: Path) -> None:
    shown = with_exif(folder, 6)
    values = content(folder)
    values["images"][3] |= {"height": SIZE + 8, "width": SIZE}
    values["annotations"].append(thing(4, 3, [box(0, 0, 5, SIZE + 8)], id=1))
    write(folder, values)
    image, mask = (each[-1] for each in drawn(folder))
    assert np.array_equal(image, shown[8:])
    assert np.array_equal(mask[..., 0], painted((slice(None), slice(0, 5), 1)))
    values["images"][3] |= {"height": SIZE, "width": SIZE + 8}
    write(folder, values)
    line = refusal(folder)
    assert f"{folder}/d.png: 40×32 pixels, image 4 of annotations.json has 32×40; allowed is its size as it" in line
    assert "as it is shown, after EXIF has turned it, and objects that are drawn on it so" in line


# Which files


def test_annotations_are_found_where_they_usually_are(folder: Path) -> None:
    expected, path = drawn(folder), folder / "annotations.json"
    for place in ("_annotations.coco.json", "annotations/instances_train2017.json"):
        (folder / place).parent.mkdir(exist_ok=True)
        path = path.rename(folder / place)
        assert all(np.array_equal(*both) for both in zip(expected, drawn(folder), strict=True))
    shutil.copy(path, folder / "annotations/other.json")
    assert refusal(folder) == (
        f"{folder}: which of annotations/instances_train2017.json, annotations/other.json holds the annotations?; "
        "dataset.masks says where they are"
    )
    found = drawn(folder, masks="annotations/other.json")
    assert all(np.array_equal(*both) for both in zip(expected, found, strict=True))
    shutil.rmtree(folder / "annotations")
    line = f"{folder}: no annotations.json, and no *.json or annotations/*.json in its place; dataset.masks says"
    assert refusal(folder).startswith(line)
    assert f"{folder}/x.json: cannot be read: No such file" in refusal(folder, masks="x.json")


@pytest.mark.parametrize("masks", ["../elsewhere.json", "/{parent}/elsewhere.json"])
def test_annotations_outside_of_the_folder_are_refused(folder: Path, masks: str) -> None:
    shutil.copy(folder / "annotations.json", folder.parent / "elsewhere.json")
    assert "elsewhere.json: leads out of " in refusal(folder, masks=masks.format(parent=folder.parent))


FILES = ["train/1.png", "train/2.png", "more/train/2.png", "more/val/2.png", "more/é.png", "more/o\u0308.png"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("train/1.png", "train/1.png"),
        ("1.png", "train/1.png"),
        ("./train/1.png", "train/1.png"),
        ("train\\1.png", "train/1.png"),
        ("/home/me/photos/1.png", "train/1.png"),
        ("../photos/1.png", "train/1.png"),
        ("train/2.png", "train/2.png"),  # and not more/train/2.png, which ends so
        ("more/train/2.png", "more/train/2.png"),
        ("val/2.png", "more/val/2.png"),
        ("more/e\u0301.png", "more/é.png"),
        ("ö.png", "more/o\u0308.png"),
    ],
)
def test_a_file_is_found_by_its_name(tmp_path: Path, name: str, path: str) -> None:
    images = {file: noise(SIZE, SIZE, seed=seed) for seed, file in enumerate(FILES)}
    make_coco(tmp_path, [thing(1, 3, [box(0, 0, 5, 5)])], images, CATEGORIES)
    values = content(tmp_path)
    (listed,) = (each for each in values["images"] if each["file_name"] == path)
    write(tmp_path, {**values, "images": [{**listed, "id": 1, "file_name": name}]})
    found = opened(tmp_path, strict=False)
    assert [*map(list, found.origins.files)] == [[path]]
    assert np.array_equal(found.draw(range(1)).images[0], images[path])


def test_a_name_of_several_files_is_refused(tmp_path: Path) -> None:
    images = {file: noise(SIZE, SIZE) for file in FILES}
    make_coco(tmp_path, [], images, CATEGORIES)
    values = content(tmp_path)
    values["images"][3]["file_name"] = "2.png"
    write(tmp_path, values)
    assert "annotations.json: image 4, '2.png': several files have that name" in refusal(tmp_path)


def test_images_are_those_of_the_pattern(folder: Path) -> None:
    expected = drawn(folder)
    (folder / "photos").mkdir()
    for name in NAMES:
        (folder / name).rename(folder / "photos" / name)
    shutil.copy(folder / "photos/a.png", folder / "preview.png")
    shutil.copy(folder / "photos/a.png", folder / "photos/._a.png")
    assert f"{folder}/preview.png: not in annotations.json" in refusal(folder)
    assert opened(folder, images="photos/*.png").left_out.counts == {"a hidden file": 1}
    found = drawn(folder, images="photos/*.png")
    assert all(np.array_equal(*both) for both in zip(expected, found, strict=True))


# What is wrong in the folder

Damage = Callable[[Path], object]
A = "annotations.json"


def changed(change: Callable[[Any], object]) -> Damage:
    """Has other annotations."""

    def damage(folder: Path) -> None:
        values = content(folder)
        change(values)
        write(folder, values)

    return damage


def with_object(segmentation: Any, **more: Any) -> Damage:
    """Has one more object in the third image."""
    return changed(lambda values: values["annotations"].append({"id": 5, **thing(3, 3, segmentation), **more}))


def with_image(**more: Any) -> Damage:
    """Has other values of the third image."""
    return changed(lambda values: values["images"][2].update(more))


def with_text(text: str | bytes) -> Damage:
    return lambda folder: (folder / A).write_bytes(text if isinstance(text, bytes) else text.encode())


def cut_off(share: float) -> Damage:
    return lambda folder: (folder / A).write_text((folder / A).read_text()[: int(share * (folder / A).stat().st_size)])


def without_third(values: Any) -> None:
    values["images"].pop(2)
    values["annotations"].pop()


FULL = [SIZE, SIZE]
# What is damaged, and what is said of it. First what costs the third image, if not strict:
COSTLY: dict[str, tuple[Damage, str]] = {
    "an odd number of coordinates": (with_object([[1, 2, 3, 4, 5, 6, 7]]), "c.png: annotation 5: a polygon of 7 numb"),
    "two points": (with_object([box(0, 0, 5, 5), [1, 2, 3, 4]]), "c.png: annotation 5: a polygon of 4 numbers, allow"),
    "no list of polygons": (with_object([1, 2, 3, 4, 5, 6]), "c.png: annotation 5: a polygon is 1, allowed is a list"),
    "a text": (with_object([[1, 2, 3, 4, 5, "6"]]), "c.png: annotation 5: a polygon is [1, 2, 3, 4, 5, '6'], allowed"),
    "not a number": (with_object([[1, 2, 3, 4, 5, float("nan")]]), "c.png: annotation 5: a polygon with a coordinate "),
    "infinity": (
        with_object([[1, 2, 3, 4, 5, float("inf")]]),
        "c.png: annotation 5: a polygon with a coordinate of in",
    ),
    "far outside": (
        with_object([[0, 0, 9, 9, 65, 0]]),
        "c.png: annotation 5: a polygon with a coordinate of 65, its im",
    ),
    "far to the left": (with_object([[0, 0, 9, 9, -33, 0]]), "c.png: annotation 5: a polygon with a coordinate of -33"),
    "runs of another size": (
        with_object({"size": [16, 64], "counts": [1024]}),
        "c.png: annotation 5: runs of size [16, 64], its image has [32, 32]",
    ),
    "runs too short": (
        with_object({"size": FULL, "counts": [1, 2]}),
        "c.png: annotation 5: counts of runs make 3 pixe",
    ),
    "a negative count": (
        with_object({"size": FULL, "counts": [1030, -6]}),
        "c.png: annotation 5: counts of runs hold ",
    ),
    "no whole counts": (
        with_object({"size": FULL, "counts": [1024.0]}),
        "c.png: annotation 5: counts of runs are [102",
    ),
    "compressed runs cut off": (
        with_object({"size": FULL, "counts": "PP"}),
        "c.png: annotation 5: counts of runs are ",
    ),
    "compressed runs too long": (
        with_object({"size": FULL, "counts": "PPP1"}),
        "c.png: annotation 5: counts of runs m",
    ),
    "one box": (with_object([], bbox=[0, 0, 3, 3]), "c.png: annotation 5: no segmentation; boxes (bbox) make no masks"),
    "an unknown category": (
        with_object([box(0, 0, 5, 5)], category_id=8),
        "c.png: annotation 5: category_id is 8, whi",
    ),
    "no category": (
        with_object([box(0, 0, 5, 5)], category_id=None),
        "c.png: annotation 5: category_id is None, allow",
    ),
    "half a crowd": (with_object([box(0, 0, 5, 5)], iscrowd=0.5), "c.png: annotation 5: iscrowd is 0.5, allowed are 0"),
    "another size": (with_image(height=SIZE - 1), "c.png: 32×32 pixels, image 3 of annotations.json has 31×32"),
    "no size": (with_image(width=None), f"{A}: number 3 of the images: an id, a file_name, a height or a width is mis"),
    "a size of 0": (
        with_image(width=0),
        f"{A}: number 3 of the images: an id, a file_name, a height or a width is mis",
    ),
    "no name": (
        with_image(file_name=""),
        f"{A}: number 3 of the images: an id, a file_name, a height or a width is mis",
    ),
    "no such file": (with_image(file_name="x\n.png"), f"{A}: image 3, 'x\\n.png': no such file among **/*"),
    "a file not named": (changed(without_third), "c.png: not in annotations.json"),
    "a broken image": (lambda folder: (folder / "c.png").write_bytes(b"none"), "c.png: broken image, or none"),
    "an image cut off": (
        lambda folder: (folder / "c.png").write_bytes((folder / "c.png").read_bytes()[:-40]),
        "c.png: broken image",
    ),
    "a format not read": (
        lambda folder: [(folder / "c.png").rename(folder / "c.heic"), with_image(file_name="c.heic")(folder)],
        f"{A}: image 3, 'c.heic': not read, allowed are .bmp",
    ),
    "a grey image": (
        lambda folder: Image.fromarray(noise(SIZE, SIZE, 1)).save(folder / "c.png"),
        "c.png: 1 channels, most images have 3",
    ),
    "one id twice": (
        changed(lambda values: values["images"].insert(2, {**values["images"][2], "file_name": "y.png"})),
        f"{A}: image 3: several images have this id",
    ),
    "one file twice": (
        changed(lambda values: values["images"].append({**values["images"][2], "id": 99})),
        "c.png: several images of annotations.json have this file",
    ),
}

# What costs none, and is counted:
FREE: dict[str, tuple[Damage, str]] = {
    "an unknown image": (with_object([box(0, 0, 5, 5)], image_id=44), f"{A}: annotation 5: no image has its image_id"),
    "one image more": (
        changed(lambda values: values["images"].append({**values["images"][2], "id": 99, "file_name": "z.png"})),
        f"{A}: image 99, 'z.png': no such file among **/*",
    ),
}


def all_boxes(values: Any) -> None:
    for each in values["annotations"]:
        del each["segmentation"]


def in_shares(values: Any) -> None:
    values["annotations"] = [thing(image, 3, [[0.2, 0.1, 0.9, 0.1, 0.9, 0.8]]) for image in (1, 2)]


def image_elsewhere(folder: Path) -> None:
    (folder / "c.png").rename(folder.parent / "c.png")
    (folder / "c.png").symlink_to(folder.parent / "c.png")


# And what is an error even then:
FATAL: dict[str, tuple[Damage, str]] = {
    "a list for an image": (with_object([box(0, 0, 5, 5)], image_id=[3]), f"{A}: annotation 5: image_id is [3], allow"),
    "a padded text for an image": (
        with_object([box(0, 0, 5, 5)], image_id="003"),
        f"{A}: annotation 5: image_id is '003', allow",
    ),
    "a text for an image": (with_object([box(0, 0, 5, 5)], image_id="3"), f"{A}: annotation 5: image_id is '3', allow"),
    "no annotation": (changed(lambda values: values["annotations"].append(8)), f"{A}: annotation 8: image_id is None"),
    "boxes alone": (
        changed(all_boxes),
        f"{A}: annotation 101: no segmentation; boxes (bbox) make no masks, allowed are",
    ),
    "nothing": (with_text(""), f"{A}: damaged, or no COCO file: '' at character 0, expected {{"),
    "cut off": (cut_off(0.5), f"{A}: damaged, or no COCO file: "),
    "nearly all": (cut_off(0.9999), f"{A}: damaged, or no COCO file: '' at character "),
    "results": (with_text('[{"image_id": 1}]'), f"{A}: damaged, or no COCO file: '[' at character 0, expected {{"),
    "more behind it": (
        with_text('{"images": []} {}'),
        f"{A}: damaged, or no COCO file: '{{' at character 15, expected ",
    ),
    "a comma missing": (
        with_text('{"images": [1 2]}'),
        f"{A}: damaged, or no COCO file: '2' at character 14, expected",
    ),
    "not UTF-8": (with_text(b'{"images": ["\xff"]}'), f"{A}: damaged, or no COCO file: 'utf-8' codec can't decode"),
    "depths": (with_text('{"images": ' + "[" * 100_000), f"{A}: damaged, or no COCO file: maximum recursion depth exc"),
    "another file": (with_text('{"images": [], "info": 5}'), f"{A}: no annotations and no categories; is it a COCO"),
    "no list": (with_text('{"images": {}}'), f"{A}: 'images' is no list"),
    "a list twice": (with_text('{"images": [], "images": []}'), f"{A}: 'images' stands there twice"),
    "a category without a name": (
        changed(lambda values: values["categories"].append({"id": 4})),
        f"{A}: category {{'id': 4}}, allowed are an id of its own",
    ),
    "a category with a blank name": (
        changed(lambda values: values["categories"].append({"id": 4, "name": " "})),
        f"{A}: category {{'id': 4, 'name': ' '}}, allowed are an id of its own and a printable name",
    ),
    "shares for pixels": (changed(in_shares), f"{A}: no object covers more than one pixel; allowed are coordinates in"),
    "a category twice": (
        changed(lambda values: values["categories"].append({"id": 3, "name": "bus"})),
        f"{A}: category {{'id': 3, 'name': 'bus'}}, allowed are an id of its own",
    ),
    "other images": (
        changed(lambda values: [each.update(file_name="x" + each["file_name"]) for each in values["images"]]),
        "none of 4 images of **/* is among the 4 of annotations.json by its file_name; dataset.images is",
    ),
    "an image elsewhere": (image_elsewhere, "c.png: leads out of "),
}


def check_pairs(folder: Path, expected: Block, kept: Sequence[int]) -> None:
    """Check that of the pairs of the sound folder these are left, and no less right."""
    found = opened(folder, strict=False)
    assert [files[0] for files in found.origins.files] == [NAMES[place] for place in kept]
    for one, other in zip(found.draw(range(len(kept))), expected, strict=True):
        assert np.array_equal(one, other[[*kept]])


@pytest.mark.parametrize(("damage", "said"), COSTLY.values(), ids=COSTLY)
def test_a_damaged_image_is_an_error_or_left_out_and_counted(
    folder: Path, capsys: pytest.CaptureFixture[str], damage: Damage, said: str
) -> None:
    expected = drawn(folder)
    damage(folder)
    assert f"{folder}/{said}" in refusal(folder, strict=True)
    check_pairs(folder, expected, [0, 1, 3])
    lines = [line for line in capsys.readouterr().err.splitlines() if f"{folder}/{said}" in line]
    assert len(lines) == 1
    assert lines[0].startswith(("warning: 1 files left out: ", "warning: 1 of 4 images left out: "))


@pytest.mark.parametrize(("damage", "said"), FREE.values(), ids=FREE)
def test_damage_that_can_be_passed_over_is_an_error_or_counted(
    folder: Path, capsys: pytest.CaptureFixture[str], damage: Damage, said: str
) -> None:
    expected = drawn(folder)
    damage(folder)
    assert f"{folder}/{said}" in refusal(folder, strict=True)
    check_pairs(folder, expected, range(4))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: 1 files left out: {folder}/{said}")


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(("damage", "said"), FATAL.values(), ids=FATAL)
def test_damage_that_cannot_be_passed_over_is_an_error(folder: Path, damage: Damage, said: str, strict: bool) -> None:
    damage(folder)
    assert said in refusal(folder, strict=strict)


def test_objects_that_reach_out_are_clipped_and_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_object([box(-4, 20, 6, 40)])(folder)
    with_object([box(30, 30, SIZE, SIZE)])(folder)  # up to the edge is not beyond it
    mask = drawn(folder).targets[2, ..., 0]
    everything = slice(None)
    road, object_, corner = (slice(0, 4), everything, 1), (slice(20, SIZE), slice(0, 6), 1), (slice(30, 32),) * 2
    assert np.array_equal(mask, painted(road, object_, (*corner, 1)))
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"warning: 1 objects clipped, which reach out of their images: {folder}/c.png: annotation 5"


def test_all_that_is_damaged_is_counted(folder: Path) -> None:
    with_object([[1, 2]])(folder)
    (folder / "a.png").write_bytes(b"none")
    assert "/a.png: broken image, or none; and 1 more; dataset.strict=false leaves such out" in refusal(folder)
    with_object([box(0, 0, 5, 5)], image_id=44)(folder)
    counts = opened(folder, strict=False).left_out.counts
    assert counts == {"no image has its image_id": 1, "broken, or a mask that does not fit": 2}


@examples
@given(st.data())
def test_any_damage_to_the_file_is_one_line_or_none(tmp_path: Path, data: st.DataObject) -> None:
    folder = make_coco(tmp_path, scene()[:4], {name: noise(SIZE, SIZE) for name in NAMES[:2]}, CATEGORIES)
    text = bytearray((folder / A).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 3))] = data.draw(
            st.sampled_from([b"", b"9", b'"', b"]", b"-", b"\xff"])
        )
    (folder / A).write_bytes(text)
    line_of(lambda: drawn(folder, classes="all", strict=data.draw(st.booleans())))


def test_no_such_folder_is_one_line(tmp_path: Path) -> None:
    assert "nowhere', allowed is a folder with images and annotations.json" in refusal(tmp_path / "nowhere")


# The core as files

WRITTEN = """{"info" : {"note": "\\u00e9 1.50"}, "licenses": [{"id":1}], "images": [
 {"id":2, "file_name":"b.png", "height":32,"width":32, "date_captured": "2013-11-15"},
 {"id":1, "file_name":"a.png", "height":32,"width":32}],
 "categories": [{"id":3,"name":"tree","more":[1.0,2]}, {"id":4,"name":"x"}], "annotations": [
 {"id": 12345678901234567890, "image_id":2.0, "category_id":3, "segmentation":[[1.50, 1e1, 20.0, 10, 9, 20.25]]},
 {"id": 6, "image_id":1, "category_id":3, "segmentation":[[1, 1, 9, 9, 1, 9]]}]}
"""


def test_originals_come_with_their_annotations_as_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_coco(Path("photos"), [], {name: noise(SIZE, SIZE, seed=1) for name in NAMES[:2]}, CATEGORIES)
    Path("photos", A).rename("photos/labels.json")
    Path("photos/labels.json").write_text(WRITTEN)
    source = opened(Path("photos"))
    block = source.draw(range(2))
    write_core(*block, rows=[1], origins=source.origins, path="photos", name="coco")
    export_core.main(["originals", "--originals"])
    assert files_below(tmp_path / "originals") == ["b.png", "labels.json"]
    text, written = Path("originals/labels.json").read_text(), WRITTEN.splitlines()
    for line in (written[1], written[4]):  # the image and its annotation
        assert line.strip().rstrip(",") in text
    values, before = json.loads(text), json.loads(WRITTEN)
    kept = {"images": before["images"][:1], "annotations": before["annotations"][:1]}
    assert values == {**before, **kept}
    assert '{"note": "\\u00e9 1.50"}' in text
    found = drawn(Path("originals"))
    assert all(np.array_equal(one, other[1:]) for one, other in zip(found, block, strict=True))


def test_the_parts_of_a_file_are_read_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(' { "a" : [ ] , "b":[1.0 ,{"c":[2]}],"d": null}\n')
    found = {key: (is_list, list(elements)) for key, is_list, elements in sections(tmp_path / "x.json")}
    assert found == {
        "a": (True, []),
        "b": (True, [(1.0, "1.0"), ({"c": [2]}, '{"c":[2]}')]),
        "d": (False, [(None, "null")]),
    }


def test_a_background_is_no_object_however_it_is_written(folder: Path) -> None:
    expected = {classes: drawn(folder, classes=classes).targets for classes in (None, "all")}
    images = {name: np.asarray(Image.open(folder / name)) for name in NAMES}
    for name in ("background", "Background", "_background_"):
        make_coco(folder, [*scene(), thing(4, 5, [box(0, 0, 9, 9)])], images, {**CATEGORIES, 5: name})
        for classes, targets in expected.items():
            assert np.array_equal(drawn(folder, classes=classes).targets, targets)


def test_an_id_may_be_written_with_a_point(folder: Path) -> None:
    expected = drawn(folder).targets
    changed(lambda values: [each.update(image_id=float(each["image_id"])) for each in values["annotations"]])(folder)
    assert np.array_equal(drawn(folder).targets, expected)


def test_images_found_by_their_last_part_alone_are_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed(lambda values: [each.update(file_name=f"val/{each['file_name']}") for each in values["images"][:2]])(folder)
    opened(folder)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "warning: 2 images of annotations.json are found by the last part of their file_name alone, as 'val/a.png' at "
        "a.png"
    )


def test_objects_without_a_pixel_are_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = drawn(folder).targets
    capsys.readouterr()
    with_object([[3.1, 3.1, 3.2, 3.1, 3.2, 3.2]])(folder)
    assert np.array_equal(drawn(folder).targets, expected)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: 1 objects cover no pixel: ")


@pytest.mark.parametrize("written", ["rows before columns", "half the size"])
def test_objects_that_lie_elsewhere_than_their_boxes_say_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: str
) -> None:
    def polygon(left: int, top: int, right: int, bottom: int) -> list[float]:
        points = np.array(box(left, top, right, bottom), float).reshape(-1, 2)
        return (points[:, ::-1] if written == "rows before columns" else points / 2).ravel().tolist()

    boxes = [(2, 14, 12, 28), (16, 2, 30, 8), (2, 20, 8, 30)]
    right = [thing(1, 7, [box(*each)], bbox=[*each[:2], each[2] - each[0], each[3] - each[1]]) for each in boxes]
    wrong = [{**each, "segmentation": [polygon(*corners)]} for each, corners in zip(right, boxes, strict=True)]
    images = {"a.png": noise(SIZE, SIZE)}
    drawn(make_coco(tmp_path / "right", right, images, CATEGORIES))
    assert "bbox" not in capsys.readouterr().err
    folder = make_coco(tmp_path / "wrong", wrong, images, CATEGORIES)
    assert "3 of 3 objects lie elsewhere than their bbox says: " in refusal(folder)
    drawn(folder, strict=False)
    drawn(make_coco(tmp_path / "one", [*right[:2], wrong[2]], images, CATEGORIES))
    assert "warning: 1 of 3 objects lie elsewhere than their bbox says" in capsys.readouterr().err


def test_objects_that_say_another_area_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ring = thing(1, 7, [box(4, 4, 20, 20), box(8, 8, 16, 16)], bbox=[4, 4, 16, 16], area=192)
    others = [
        thing(1, 3, [box(20, 20, 30, 30)], area=101.5),
        thing(1, 3, [[20, 2, 30, 2, 20, 12]], bbox=[20, 2, 10, 10], area=100),  # of its box, as many programs write
        thing(1, 3, [box(2, 22, 8, 30)], bbox=[2, 22, 10**400, 8.5], area=48),
    ]
    folder = make_coco(tmp_path, [*others, ring], {"a.png": noise(SIZE, SIZE)}, CATEGORIES)
    drawn(folder)
    said = [line for line in capsys.readouterr().err.splitlines() if "area" in line]
    start = "warning: 1 of 4 objects cover another area than they say (a polygon in a polygon is no hole): "
    assert [line.startswith(start) for line in said] == [True]


def test_objects_of_the_background_cut_holes_and_lie_below_crowds_that_are_smaller(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {**CATEGORIES, 3: "background"}
    whole, hole = thing(1, 3, [box(0, 0, SIZE, SIZE)]), thing(1, 3, [box(6, 6, 9, 9)])
    car, crowd = thing(1, 7, [box(4, 4, 12, 12)]), thing(1, 7, counted(painted((*CROWD, 1))), iscrowd=1)
    inner, outer = (slice(6, 9), slice(6, 9), 0), (slice(4, 12), slice(4, 12), 1)
    for objects, expected in (
        ([hole, car, whole], painted(outer, inner)),
        ([hole, car, whole, crowd], painted((*CROWD, 1), outer, inner)),
    ):
        folder = make_coco(tmp_path / str(len(objects)), objects, {"a.png": noise(SIZE, SIZE)}, names)
        assert np.array_equal(drawn(folder).targets[0, ..., 0], expected)
    assert "overlap" not in capsys.readouterr().err
