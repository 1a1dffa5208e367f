"""The formats by their names."""

from collections.abc import Callable, Iterable
from pathlib import Path

from stages.labelling import coco, cvat, fiftyone, label_studio
from stages.labelling.items import Export, Item

FORMATS: dict[str, Callable[[Path, Iterable[Item], Export], None]] = {
    "coco": coco.write,
    "cvat": cvat.write,
    "label_studio": label_studio.write,
    "fiftyone": fiftyone.write,
}
