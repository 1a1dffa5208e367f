"""CVAT for images 1.1: ``annotations.xml``, with ``labels.json`` and ``manifest.jsonl`` to make its task by.

CVAT sorts images by name. A task of the sorting method `predefined` has the order of the manifest instead. Score and
fields are attributes of a tag on each image, since images themselves have none.
"""

import json
from collections.abc import Iterable
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from stages.labelling.items import Export, Item, regions, runs
from stages.pairs.layout import own_name

TAG = "traincore"  # with `_` behind it where a class has that name
WHOLE = ["0", str(2**31 - 1), "1"]  # least, greatest, step: CVAT takes steps of whole numbers alone


def write(folder: Path, items: Iterable[Item], export: Export) -> None:
    """Write the files of some items, at least one; each connected region of a class is a mask."""
    items = iter(items)
    first = next(items)
    labels = _labels(first, export)
    (folder / "labels.json").write_text(json.dumps(labels, indent=2) + "\n", encoding="utf-8")
    with (
        (folder / "annotations.xml").open("w", encoding="utf-8") as file,
        (folder / "manifest.jsonl").open("w", encoding="utf-8") as manifest,
    ):
        manifest.write('{"version": "1.1"}\n{"type": "images"}\n')
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
        file.write(_text(_meta(labels)))
        for number, item in enumerate(chain([first], items)):
            file.write(_text(_image(number, item, export)))
            path, (height, width) = PurePosixPath(item.name), item.mask.shape
            line = {"name": str(path.with_suffix("")), "extension": path.suffix, "width": width, "height": height}
            manifest.write(json.dumps(line) + "\n")
        file.write("</annotations>\n")


def _labels(item: Item, export: Export) -> list[dict[str, Any]]:
    """The labels of a task, as CVAT's editor of raw labels takes them: the classes, and the tag with its attributes."""
    attributes = [
        {
            "name": name,
            "mutable": False,
            "input_type": "number" if isinstance(value, int) else "text",
            "default_value": "0" if isinstance(value, int) else "",
            "values": WHOLE if isinstance(value, int) else [""],
        }
        for name, value in item.values.items()
    ]
    return [
        *({"name": each.name, "color": each.color, "type": "any", "attributes": []} for each in export.labels.values()),
        {"name": _tag(export), "color": "#0080ff", "type": "tag", "attributes": attributes},
    ]


def _tag(export: Export) -> str:
    return own_name(TAG, export.labels.values())


def _meta(labels: list[dict[str, Any]]) -> Element:
    meta = Element("meta")
    task = SubElement(meta, "task")
    SubElement(task, "mode").text = "annotation"
    group = SubElement(task, "labels")
    for each in labels:
        label = SubElement(group, "label")
        for key in ("name", "color", "type"):
            SubElement(label, key).text = each[key]
        attributes = SubElement(label, "attributes")
        for given in each["attributes"]:
            attribute = SubElement(attributes, "attribute")
            for key, value in given.items():
                SubElement(attribute, key).text = "\n".join(value) if key == "values" else str(value)
    return meta


def _image(number: int, item: Item, export: Export) -> Element:
    height, width = item.mask.shape
    image = Element("image", id=str(number), name=item.name, width=str(width), height=str(height))
    for index, label in export.labels.items():
        for region in regions(item.mask, index):
            rows, columns = region.bits.shape
            place = {"left": region.left, "top": region.top, "width": columns, "height": rows}
            mask = SubElement(image, "mask", {side: str(pixels) for side, pixels in place.items()})
            mask.attrib |= {"label": label.name, "source": "auto" if export.predicted else "file"}
            mask.attrib |= {"rle": ", ".join(map(str, runs(region.bits.ravel()))), "occluded": "0", "z_order": "0"}
    tag = SubElement(image, "tag", label=_tag(export), source="auto")
    for name, value in item.values.items():
        if value is not None:
            SubElement(tag, "attribute", name=name).text = str(value)
    return image


def _text(element: Element) -> str:
    indent(element, level=1)
    return f"  {tostring(element, encoding='unicode')}\n"
