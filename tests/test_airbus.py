"""Kaggle's Airbus challenge in its own layout: what the runs of the table mean, and what is said if they are wrong."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages.datasets import airbus
from tests.files import encode, make_airbus, noise, save
from tests.sources import Opening

SIZE, COUNT = 32, 6
TABLE = "train_ship_segmentations_v2.csv"
AIRBUS = Opening("airbus", SIZE)
opened, drawn, refusal = AIRBUS.opened, AIRBUS.drawn, AIRBUS.refusal


def ships_of(folder: Path) -> dict[str, list[str]]:
    """The lines of each image in the table."""
    with (folder / TABLE).open(newline="") as file:
        lines = list(csv.reader(file))[1:]
    return {name: [ship for other, ship in lines if other == name] for name, _ in lines}


def decoded(ships: list[str], height: int, width: int) -> np.ndarray:
    """What Kaggle's page says of the runs, pixel by pixel; shape (h, w)."""
    mask = np.zeros((height, width), np.uint8)
    for ship in ships:
        numbers = [int(number) for number in ship.split()]
        for start, length in zip(numbers[::2], numbers[1::2], strict=True):
            for pixel in range(start, start + length):
                column, row = divmod(pixel - 1, height)
                mask[row, column] = 1
    return mask


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good folder, not to be changed."""
    return make_airbus(tmp_path_factory.mktemp("sound") / "airbus", COUNT, SIZE)


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy of it to be damaged."""
    return Path(shutil.copytree(sound, tmp_path / "airbus"))


# What the table means


@st.composite
def encoded(draw: st.DrawFn) -> tuple[list[str], int, int]:
    """Lines of an image, whose runs may share pixels, and its height and width."""
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    starts = st.integers(1, height * width)
    runs = starts.flatmap(lambda start: st.tuples(st.just(start), st.integers(1, height * width + 1 - start)))
    ships = draw(st.lists(st.lists(runs, max_size=4), max_size=4))
    return [" ".join(f"{start} {length}" for start, length in ship) for ship in ships], height, width


@given(encoded())
def test_runs_mean_what_they_mean_pixel_by_pixel(case: tuple[list[str], int, int]) -> None:
    ships, height, width = case
    mask = airbus.mask_of(airbus._runs_of(ships), height, width)
    assert (mask.shape, mask.dtype) == ((height, width, 1), np.dtype("uint8"))
    assert np.array_equal(mask[..., 0], decoded(ships, height, width))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_a_mask_that_is_encoded_is_the_same_when_it_is_decoded(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 2, (height, width), np.uint8)
    assert np.array_equal(decoded([encode(mask)], height, width), mask)
    assert np.array_equal(airbus.mask_of(airbus._runs_of([encode(mask)]), height, width)[..., 0], mask)


def test_pairs_are_the_images_and_the_union_of_their_ships(sound: Path) -> None:
    ships = ships_of(sound)
    assert {len(each) for each in ships.values()} >= {1, 2}
    assert [""] in ships.values()
    found = opened(sound)
    assert [list(files) for files in found.origins.files] == [[f"train_v2/{name}"] for name in sorted(ships)]
    block = found.draw(range(COUNT))
    for name, image, mask in zip(sorted(ships), *block, strict=True):
        assert np.array_equal(image, np.asarray(Image.open(sound / "train_v2" / name)))
        assert np.array_equal(mask[..., 0], decoded(ships[name], SIZE, SIZE))
    assert {bool(mask.any()) for mask in block.targets} == {True, False}


def test_ships_are_where_images_are_bright(sound: Path) -> None:
    for image, mask in zip(*drawn(sound), strict=True):
        inside = image[mask[..., 0] == 1].astype(float)
        assert inside.size == 0 or inside.mean() > image[mask[..., 0] == 0].mean() + 50


def test_lines_of_an_image_are_united_wherever_they_stand_in_the_table(folder: Path) -> None:
    expected = drawn(folder)
    header, *lines = (folder / TABLE).read_text().splitlines()
    (folder / TABLE).write_text("\r\n".join([header, *lines[::-1]]))
    assert all(np.array_equal(a, b) for a, b in zip(expected, drawn(folder), strict=True))


def test_images_that_are_no_squares_are_read_column_by_column(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).integers(0, 2, (SIZE + 8, SIZE + 24), np.uint8)
    save(tmp_path / "train_v2/a.jpg", noise(*mask.shape))
    (tmp_path / TABLE).write_text(f"ImageId,EncodedPixels\na.jpg,{encode(mask)}\n")
    found = opened(tmp_path)
    assert found.origins.tiles[:, 1:].tolist() == [[top, left, 0] for top in (0, 8) for left in (0, 24)]
    for (_, top, left, _), tile in zip(found.origins.tiles.tolist(), found.draw(range(4)).targets, strict=True):
        assert np.array_equal(tile[..., 0], mask[top : top + SIZE, left : left + SIZE])


def test_images_and_table_can_have_other_names(folder: Path) -> None:
    expected = drawn(folder)
    (folder / "train_v2").rename(folder / "photos")
    (folder / TABLE).rename(folder / "ships.csv")
    found = drawn(folder, images="photos/*.jpg", masks="ships.csv")
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))


def test_train_and_test_share_no_image(sound: Path) -> None:
    train, test = (opened(sound, item, test_share=0.34).origins.files for item in ("train", "test"))
    assert len(test) == 2
    assert sorted(files[0] for files in [*train, *test]) == [files[0] for files in opened(sound).origins.files]


# What is wrong in the folder

NAMES = [f"{number:08x}.jpg" for number in range(COUNT)]
NAME = NAMES[3]  # the one that is damaged
PATH = f"train_v2/{NAME}"
Damage = Callable[[Path], object]


def without(folder: Path, name: str) -> Path:
    """Take the lines of an image out of the table."""
    lines = (folder / TABLE).read_text().splitlines(keepends=True)
    (folder / TABLE).write_text("".join(line for line in lines if not line.startswith(f"{name},")))
    return folder


def with_ships(*ships: str) -> Damage:
    """Has other ships in the image that is damaged."""

    def damage(folder: Path) -> None:
        without(folder, NAME)
        for ship in ships:
            with_line(f"{NAME},{ship}")(folder)

    return damage


def with_line(line: str) -> Damage:
    """Has one more line in the table."""
    return lambda folder: (folder / TABLE).write_text((folder / TABLE).read_text() + line + "\n")


def with_table(content: str | bytes) -> Damage:
    encoded = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / TABLE).write_bytes(encoded)


def with_image(content: bytes) -> Damage:
    return lambda folder: (folder / PATH).write_bytes(content)


def cut_off(share: float) -> Damage:
    """Has a share of an image file alone."""

    def damage(folder: Path) -> None:
        content = (folder / PATH).read_bytes()
        (folder / PATH).write_bytes(content[: int(share * len(content))])

    return damage


def without_table(folder: Path) -> None:
    (folder / TABLE).unlink()


def folder_as_table(folder: Path) -> None:
    (folder / TABLE).unlink()
    (folder / TABLE).mkdir()


def table_elsewhere(folder: Path) -> None:
    (folder / TABLE).rename(folder.parent / TABLE)
    (folder / TABLE).symlink_to(folder.parent / TABLE)


def image_elsewhere(folder: Path) -> None:
    (folder / PATH).rename(folder.parent / NAME)
    (folder / PATH).symlink_to(folder.parent / NAME)


HEADER = "ImageId,EncodedPixels\n"

# What is damaged, and what is said of it. First what costs an image, if not strict:
COSTLY: dict[str, tuple[Damage, str]] = {
    "an odd number of numbers": (with_ships("5 3 9"), f"{PATH}: a bad run in '5 3 9', expected pairs of a start"),
    "a letter in a run": (with_ships("5 3x"), f"{PATH}: a bad run in '5 3x'"),
    "a negative start": (with_ships("-5 3"), f"{PATH}: a bad run in '-5 3'"),
    "a fraction": (with_ships("5.0 3"), f"{PATH}: a bad run in '5.0 3'"),
    "a number of many digits": (with_ships(f"{10**30} 3"), f"{PATH}: a bad run in '1000"),
    "a digit that is none": (with_ships("5 ²"), f"{PATH}: a bad run in '5 ²'"),
    "a run of several lines": (with_ships('"5 3\nx"'), f"{PATH}: a bad run in '5 3\\nx'"),
    "a bad run after a good one": (with_ships("5 3", "9"), f"{PATH}: a bad run in '9'"),
    "a start of zero": (with_ships("0 3"), f"{PATH}: a run that starts below 1 or is shorter than that"),
    "a length of zero": (with_ships("5 0"), f"{PATH}: a run that starts below 1 or is shorter than that"),
    "a run beyond the end": (with_ships("1020 6"), f"{PATH}: a run that ends behind the last of 32×32 pixels"),
    "a run far beyond the end": (with_ships("999999999 999999999"), f"{PATH}: a run that ends behind the last of"),
    "an image that is none": (with_image(b"no image"), f"{PATH}: broken image, or none"),
    "an empty image": (with_image(b""), f"{PATH}: broken image, or none"),
    "an image cut off in its head": (cut_off(0.3), f"{PATH}: broken image"),
    "an image cut off at its end": (cut_off(0.99), f"{PATH}: broken image: Corrupt JPEG data"),
    "an image in grey": (lambda folder: save(folder / PATH, noise(SIZE, SIZE, 1)), f"{PATH}: 1 channels, most images"),
    "an image not in the table": (with_ships(), f"{PATH}: not in the table"),
}

# What costs none, and what is counted:
FREE: dict[str, tuple[Damage, str, str]] = {
    "no such image": (with_line("x.jpg,1 2"), "x.jpg: in the table, but no such image", "1 files left out"),
    "a path for a name": (with_line("../x.jpg,1 2"), "../x.jpg: in the table, but no such image", "1 files left out"),
    "runs that overlap": (with_ships("5 3 7 2"), f"{PATH}: runs that overlap", "1 images whose runs overlap, of which"),
    "ships that overlap": (with_ships("7 2", "5 9"), f"{PATH}: runs that overlap", "1 images whose runs overlap"),
}

# And what is an error even then:
FATAL: dict[str, tuple[Damage, str]] = {
    "a missing table": (without_table, f"{TABLE}: cannot be read: No such file or directory; dataset.masks names"),
    "a folder as table": (folder_as_table, f"{TABLE}: cannot be read: Is a directory"),
    "a table elsewhere": (table_elsewhere, f"{TABLE}: leads out of "),
    "an empty table": (with_table(""), f"{TABLE}: first line '', expected the names of columns"),
    "another header": (
        with_table("image,mask\n"),
        f"{TABLE}: first line 'image,mask', expected a column 'ImageId'",
    ),
    "a table without header": (with_table("x.jpg,1 2\n"), f"{TABLE}: first line 'x.jpg,1 2', expected"),
    "a table of nothing": (with_table(HEADER), "none of 6 images of train_v2/*.jpg is one of the 0 of the table"),
    "a table of other images": (with_table(f"{HEADER}x.jpg,\n"), "of train_v2/*.jpg is one of the 1 of the table"),
    "not UTF-8": (with_table(HEADER.encode() + b"\xff\xfe,\n"), f"{TABLE}: not a table: 'utf-8' codec can't decode"),
    "three columns": (with_line(f"{NAME},1 2,3"), "3 columns, expected 2"),
    "one column": (with_line(NAME), "1 columns, expected 2"),
    "an empty line": (with_line(""), "0 columns, expected 2"),
    "an open quote": (with_line(f'{NAME},"' + "1 2 " * 50_000), f"{TABLE}: not a table: field larger than"),
    "a name of several lines": (
        with_line('"a\nb.jpg",'),
        "ImageId is 'a\\nb.jpg', allowed is a name of printable characters",
    ),
    "no images": (lambda folder: shutil.rmtree(folder / "train_v2"), "none of 0 images of train_v2/*.jpg is one of"),
    "an image elsewhere": (image_elsewhere, f"{PATH}: leads out of "),
}


def check_pairs(folder: Path, names: list[str]) -> None:
    """Check that these images are the pairs of a damaged folder, and right."""
    found = opened(folder, strict=False)
    assert [files[0] for files in found.origins.files] == [f"train_v2/{name}" for name in names]
    for name, image, mask in zip(names, *found.draw(range(len(names))), strict=True):
        assert np.array_equal(image, np.asarray(Image.open(folder / "train_v2" / name)))
        assert np.array_equal(mask[..., 0], decoded(ships_of(folder)[name], SIZE, SIZE))


@pytest.mark.parametrize(("damage", "said"), COSTLY.values(), ids=COSTLY)
def test_a_damaged_image_is_an_error_or_left_out_and_counted(
    folder: Path, capsys: pytest.CaptureFixture[str], damage: Damage, said: str
) -> None:
    damage(folder)
    assert f"{folder}/{said}" in refusal(folder, strict=True)
    check_pairs(folder, [name for name in NAMES if name != NAME])
    counted = "1 files" if "not in the table" in said or "channels" in said else "1 of 6 images"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {counted} left out: {folder}/{said}")


@pytest.mark.parametrize(("damage", "said", "counted"), FREE.values(), ids=FREE)
def test_damage_that_can_be_passed_over_is_an_error_or_counted(
    folder: Path, capsys: pytest.CaptureFixture[str], damage: Damage, said: str, counted: str
) -> None:
    damage(folder)
    assert f"{folder}/{said}" in refusal(folder, strict=True)
    check_pairs(folder, NAMES)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {counted}")
    assert line.endswith(f": {folder}/{said}")


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(("damage", "said"), FATAL.values(), ids=FATAL)
def test_damage_that_cannot_be_passed_over_is_an_error(folder: Path, damage: Damage, said: str, strict: bool) -> None:
    damage(folder)
    assert said in refusal(folder, strict=strict)


def test_runs_that_touch_do_not_overlap(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_ships("5 3 8 2", "1 4")(folder)
    assert drawn(folder, strict=True).targets[3].sum() == 9
    assert capsys.readouterr().err == ""


def test_all_that_is_damaged_is_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_ships("5 3 9")(folder)
    with_line("x.jpg,")(folder)
    (folder / f"train_v2/{NAMES[0]}").write_bytes(b"no image")
    check_pairs(folder, [name for name in NAMES[1:] if name != NAME])
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("warning: 1 files left out: ")
    assert second.startswith("warning: 2 of 6 images left out: ")
    assert "; and 1 more; dataset.strict=false leaves such out" in refusal(without(folder, "x.jpg"))


@pytest.mark.parametrize("masks", ["../elsewhere.csv", "/{parent}/elsewhere.csv"])
def test_a_table_outside_of_the_folder_is_refused(folder: Path, masks: str) -> None:
    shutil.copy(folder / TABLE, folder.parent / "elsewhere.csv")
    assert "elsewhere.csv: leads out of " in refusal(folder, masks=masks.format(parent=folder.parent))


def test_images_of_the_same_name_are_refused(folder: Path) -> None:
    save(folder / "more" / NAME, noise(SIZE, SIZE))
    assert "1 images of */*.jpg have the name of another" in refusal(folder, images="*/*.jpg", strict=False)


@pytest.mark.parametrize("strict", [True, False])
def test_a_folder_in_which_all_is_broken_is_refused(folder: Path, strict: bool) -> None:
    for path in folder.glob("train_v2/*"):
        path.write_bytes(b"no image")
    assert "00000000.jpg: broken image, or none; and 5 more" in refusal(folder, strict=strict)


def test_no_such_folder_is_one_line(tmp_path: Path) -> None:
    line = refusal(tmp_path / "nowhere")
    assert "nowhere', allowed is a folder with train_v2/*.jpg and train_ship_segmentations_v2.csv" in line


@pytest.mark.parametrize(("key", "value"), [("mask_values", [3]), ("mask_threshold", 127.0)])
def test_what_is_for_masks_in_files_is_refused(folder: Path, key: str, value: Any) -> None:
    assert f"dataset.{key} is {value!r}, allowed is null: airbus's masks are no files" in refusal(
        folder, **{key: value}
    )


def test_classes_of_a_table_are_said_to_make_one_mask(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (folder / TABLE).open(newline="") as file:
        header, *lines = csv.reader(file)
    with (folder / TABLE).open("w", newline="") as file:
        classes = [str(place % 2 + 1) if ship else "" for place, (_, ship) in enumerate(lines)]
        csv.writer(file).writerows(
            [[*header, "ClassId"], *([*line, each] for line, each in zip(lines, classes, strict=True))]
        )
    drawn(folder)
    assert "2 values of ClassId, which make one mask here" in capsys.readouterr().err


def test_a_file_that_is_not_read_is_counted_once(folder: Path) -> None:
    name = sorted(ships_of(folder))[0]
    (folder / "train_v2" / name).rename(folder / "train_v2" / Path(name).with_suffix(".heic"))
    text = (folder / TABLE).read_text()
    (folder / TABLE).write_text(text.replace(name, Path(name).with_suffix(".heic").name))
    counts = opened(folder, strict=False, images="train_v2/*").left_out.counts
    assert sum(counts.values()) == 1
