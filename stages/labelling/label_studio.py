"""Label Studio: ``tasks.json``, with ``labelling_config.xml`` for its project.

Tasks name their images as files that Label Studio serves from its own disk, below the folder that holds that of the
images (``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT``).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from stages.labelling.items import Export, Item, runs, write_list

LENGTH_BITS = (3, 4, 8, 16)  # of the length of a run, which takes the first that do


def write(folder: Path, items: Iterable[Item], export: Export) -> None:
    """Write the files of some items; the pixels of a class are one region, as the tool's brush paints them."""
    view = Element("View")
    SubElement(view, "Image", name="image", value="$image", zoom="true")
    labels = SubElement(view, "BrushLabels", name="label", toName="image")
    for label in export.labels.values():
        SubElement(labels, "Label", value=label.name, background=label.color)
    indent(view)
    (folder / "labelling_config.xml").write_text(tostring(view, encoding="unicode") + "\n", encoding="utf-8")
    with (folder / "tasks.json").open("w", encoding="utf-8") as file:
        write_list(file, (_task(item, export) for item in items))
        file.write("\n")


def _task(item: Item, export: Export) -> dict[str, Any]:
    path = quote(f"{export.images}/{item.name}")
    data = {"image": f"/data/local-files/?d={path}", "file": item.name, **item.values}
    result = list(_result(item.mask, export))
    if export.predicted:
        return {"data": data, "predictions": [{"model_version": "traincore", "score": item.score, "result": result}]}
    return {"data": data, "annotations": [{"result": result}]}


def _result(mask: np.ndarray, export: Export) -> Iterator[dict[str, Any]]:
    height, width = mask.shape
    for value, label in export.labels.items():
        bits = mask == value
        if bits.any():
            yield {
                "id": f"class{value}",
                "type": "brushlabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {"format": "rle", "rle": encode(bits), "brushlabels": [label.name]},
            }


def encode(bits: np.ndarray) -> list[int]:
    """Label Studio's RLE of a mask (h, w), as bytes.

    It is of an image of four channels, here all of them 255 in the mask and 0 elsewhere, row by row: the number of its
    values in 32 bits, the bits of a value less one in 5, the bits of the four kinds of lengths less one in 4 each. Each
    run is then a 1, its kind in 2 bits, its length less one, its value.
    """
    words = [f"{4 * bits.size:032b}{8 - 1:05b}", *(f"{length - 1:04b}" for length in LENGTH_BITS)]
    value = 0
    for length in runs(bits.ravel()):
        for part in _parts(4 * length):
            kind = next(kind for kind, bits_of in enumerate(LENGTH_BITS) if part <= 1 << bits_of)
            words.append(f"1{kind:02b}{part - 1:0{LENGTH_BITS[kind]}b}{value:08b}")
        value = 255 - value
    digits = np.frombuffer("".join(words).encode(), np.uint8) - ord("0")
    return np.packbits(digits).tolist()


def _parts(length: int) -> Iterator[int]:
    """A run cut into runs of which each length can be written."""
    longest = 1 << LENGTH_BITS[-1]
    yield from [longest] * (length // longest)
    if length % longest:
        yield length % longest
