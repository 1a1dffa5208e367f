"""The JSON file of a COCO data set: the images that it lists, with their objects, and the categories of these.

It is read value by value, and an object is encoded as soon as it is read, since Python's numbers would take several
times as much memory as the file. https://cocodataset.org/#format-data
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from stages.datasets.shared.find import LeftOut
from stages.datasets.shared.runs import NO_SEGMENTATION, count_pixels, encode, has_other_area, lies_elsewhere, shown
from stages.pipeline.errors import UserError
from stages.pipeline.files import read_file

LISTS = ("images", "annotations", "categories")
LONGEST = 65535  # side of an image, in pixels
SPACES = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder()


class Object(NamedTuple):
    """An object in an image.

    Attributes
    ----------
    number : object
        The id of its annotation.
    category : int
        The id of its category.
    crowd : bool
        Whether it is a region of many objects that nobody told apart.
    runs : bytes
        Its pixels, as `encode` gives them.
    clipped, elsewhere, other_area : bool
        Whether it reaches out of the image; whether it lies elsewhere than its box says; whether it has more or fewer
        pixels than it says.
    """

    number: Any
    category: int
    crowd: bool
    runs: bytes
    clipped: bool
    elsewhere: bool = False
    other_area: bool = False


@dataclass
class Listed:
    """An image that the file lists: its id, the name of its file, its size, its objects.

    Attributes
    ----------
    fault : str
        The first thing that is wrong with its annotations; empty if nothing is.
    """

    number: int | str
    name: str
    height: int
    width: int
    objects: list[Object] = field(default_factory=list)
    fault: str = ""


def read_coco(folder: Path, name: str, left_out: LeftOut) -> tuple[list[Listed], dict[int, str]]:
    """The images with their objects, and the names of the categories by their ids.

    Parameters
    ----------
    folder : Path
        The folder of the data set.
    name : str
        The file, below it.
    left_out : LeftOut
        Images that lack a value or share their id are added, and annotations of no image.

    Raises
    ------
    UserError
        If the file is damaged, not COCO's, or has boxes alone; if ``strict``, also if anything is to be left out.
    """
    path = folder / name
    seen: set[str] = set()
    listed: list[Listed | None] = []
    images: dict[int | str, Listed] = {}
    categories: dict[int, str] = {}
    numbers: set[float] = set()
    early: list[str] = []  # annotations that stand before the images
    astray: list[str] = []
    for key, is_list, values in sections(path):
        if key not in LISTS:
            continue
        if key in seen or not is_list:
            raise UserError(f"{path}: {key!r} {'stands there twice' if key in seen else 'is no list'}")
        if key == "images":
            listed = [_listed(value) for value, _ in values]
            images = {image.number: image for image in listed if image}
            numbers = {number for each in images if (number := _number(each)) is not None}
        elif key == "categories":
            categories = _categories(path, [value for value, _ in values])
        elif "images" in seen:
            astray = [_named(name, value) for value, _ in values if not _add(path, value, images, numbers)]
        else:
            early = [text for _, text in values]
        seen.add(key)
    if len(seen) < len(LISTS):
        raise UserError(f"{path}: no {' and no '.join(key for key in LISTS if key not in seen)}; is it a COCO file?")
    astray += [_named(name, value) for value in map(json.loads, early) if not _add(path, value, images, numbers)]
    _check_objects(path, images.values(), categories)
    useless = [f"{name}: number {place} of the images" for place, image in enumerate(listed, 1) if image is None]
    left_out.add(useless, "an id, a file_name, a height or a width is missing, or makes no sense")
    times = Counter(image.number for image in listed if image)
    twice = [number for number in times if times[number] > 1]
    left_out.add([f"{name}: image {shown(number)}" for number in twice], "several images have this id")
    left_out.add(astray, "no image has its image_id")
    return [image for number, image in images.items() if times[number] == 1], categories


def sections(path: Path) -> Iterator[tuple[str, bool, Iterator[tuple[Any, str]]]]:
    """The parts of a JSON file that holds an object.

    Yields
    ------
    str
        A key.
    bool
        Whether its value is a list.
    iterator
        The elements of that list, or the value alone: each as it is parsed, and its text.

    Raises
    ------
    UserError
        If the file cannot be read, or is damaged.
    """
    text = _Text(path)
    separator = text.take("{")
    while separator != "}":
        key, _ = text.value()
        text.take(":")
        is_list = text.peek() == "["
        values = text.elements() if is_list else iter([text.value()])
        yield key, is_list, values
        for _ in values:  # what nobody asked for
            pass
        separator = text.take(",}")
    if text.peek():
        raise text.damaged(f"{text.peek()!r} at character {text.place}, expected its end")


class _Text:
    """The text of a JSON file, and how far it is read."""

    def __init__(self, path: Path) -> None:
        self.path, self.place = path, 0
        try:
            self.text = read_file(path).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self.damaged(error) from None

    def damaged(self, why: object) -> UserError:
        """The line for a file that is no JSON, or another than is expected."""
        return UserError(f"{self.path}: damaged, or no COCO file: {why}")

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        spaces = SPACES.match(self.text, self.place)
        self.place = spaces.end() if spaces else self.place
        return self.text[self.place : self.place + 1]

    def take(self, allowed: str) -> str:
        """Read one of some characters."""
        found = self.peek()
        if not found or found not in allowed:
            raise self.damaged(f"{found!r} at character {self.place}, expected {' or '.join(allowed)}")
        self.place += 1
        return found

    def value(self) -> tuple[Any, str]:
        """Read a value: as it is parsed, and its text."""
        self.peek()
        start = self.place
        try:
            value, self.place = DECODER.raw_decode(self.text, start)
        except (ValueError, RecursionError) as error:
            raise self.damaged(error) from None
        return value, self.text[start : self.place]

    def elements(self) -> Iterator[tuple[Any, str]]:
        """Read the values of a list, one by one."""
        self.take("[")
        separator = self.take("]") if self.peek() == "]" else ","
        while separator != "]":
            yield self.value()
            separator = self.take(",]")


def _listed(value: Any) -> Listed | None:
    match value:
        case {
            "id": int() | str() as number,
            "file_name": str() as name,
            "height": int() as height,
            "width": int() as width,
        } if name and 0 < height <= LONGEST and 0 < width <= LONGEST:
            return Listed(number, name, height, width)
    return None


def _named(name: str, annotation: Any) -> str:
    return f"{name}: annotation {shown(annotation.get('id') if isinstance(annotation, dict) else annotation)}"


def _add(path: Path, annotation: Any, images: Mapping[Any, Listed], numbers: Collection[float]) -> bool:
    """Add an object, or what is wrong with it, to its image; False if there is no such image.

    ``numbers`` are the ids of the images as numbers, however they are written.

    Raises
    ------
    UserError
        If it does not tell its image: without it, a mask would lack an object, and nobody knows which.
    """
    home: Any = annotation.get("image_id") if isinstance(annotation, dict) else None
    if not isinstance(home, int | float | str) or (home not in images and _number(home) in numbers):
        raise UserError(f"{_named(str(path), annotation)}: image_id is {shown(home)}, allowed is the id of an image")
    if home not in images:
        return False
    image = images[home]  # also if 1 is written as 1.0
    number, category, crowd = (annotation.get(key) for key in ("id", "category_id", "iscrowd"))
    try:
        if not isinstance(category, int):
            raise UserError(f"category_id is {shown(category)}, allowed is the id of a category")
        if crowd not in (None, 0, 1):
            raise UserError(f"iscrowd is {shown(crowd)}, allowed are 0 and 1")
        runs, clipped = encode(annotation.get("segmentation"), image.height, image.width)
    except UserError as error:
        image.fault = image.fault or f"annotation {shown(number)}: {error}"
    else:
        box, size = annotation.get("bbox"), (image.height, image.width)
        elsewhere, other = lies_elsewhere(runs, box, *size), has_other_area(runs, annotation.get("area"), box, *size)
        image.objects.append(Object(number, category, bool(crowd), runs, clipped, elsewhere, other))
    return True


def _number(written: float | str) -> float | None:
    """The number that an id is, though it may be written as a text, with zeros before it or as 1.0."""
    try:
        return float(written)
    except (ValueError, OverflowError):
        return None


def _categories(path: Path, values: Sequence[Any]) -> dict[int, str]:
    categories: dict[int, str] = {}
    for value in values:
        match value:
            case {"id": int() as number, "name": str() as name} if (
                number not in categories and name.strip() and name.isprintable()
            ):
                categories[number] = name
            case _:
                raise UserError(f"{path}: category {shown(value)}, allowed are an id of its own and a printable name")
    return categories


def _check_objects(path: Path, images: Collection[Listed], categories: Mapping[int, str]) -> None:
    """Look for categories that are not listed, and refuse a file that has boxes or single pixels alone."""
    for image in images:
        for each in image.objects:
            if each.category not in categories and not image.fault:
                image.fault = f"annotation {shown(each.number)}: category_id is {each.category}, which no category has"
    boxes = [image.fault for image in images if image.fault.endswith(NO_SEGMENTATION)]
    if boxes and not any(image.objects for image in images):
        raise UserError(f"{path}: {boxes[0]}")
    sizes = (count_pixels([each.runs], image.height, image.width) for image in images for each in image.objects)
    if any(image.objects for image in images) and all(size <= 1 for size in sizes):
        raise UserError(
            f"{path}: no object covers more than one pixel; allowed are coordinates in pixels, not in shares"
        )
