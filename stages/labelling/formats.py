"""The formats by their names."""

from collections.abc import Callable, Iterable
from pathlib import Path

from stages.labelling import coco, cvat, fiftyone, label_studio
from stages.labelling.items import Export, Item

# Each writes the files of a tool into a folder: of images, in the order that the tool shows them, and of what is the
# same for all of them. Scores of predicted masks are in [0, 1].
FORMATS: dict[str, Callable[[Path, Iterable[Item], Export], None]] = {
    "coco": coco.write,
    "cvat": cvat.write,
    "label_studio": label_studio.write,
    "fiftyone": fiftyone.write,
}
