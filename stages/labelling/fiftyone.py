"""FiftyOne: ``metadata.json`` and ``samples.json``, which `fiftyone.Dataset.from_dir` reads.

They are of its type `LegacyFiftyOneDataset`: it has no version, and FiftyOne tells the fields by their values, where
the present type repeats the tables of its database. A sample has one mask of classes and a field for each value to sort
by. Masks stand in the file, so that paths of images alone depend on the folder that ``rel_dir`` names.
"""

import base64
import io
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from stages.labelling.items import Export, Item, write_list


def write(folder: Path, items: Iterable[Item], export: Export) -> None:
    """Write the files of some items."""
    targets = {str(value): label.name for value, label in export.labels.items()}
    metadata = {"media_type": "image", "info": {"default_mask_targets": targets}}
    (folder / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
    with (folder / "samples.json").open("w", encoding="utf-8") as file:
        file.write('{"samples": ')
        write_list(file, (_sample(item, export) for item in items))
        file.write("}\n")


def _sample(item: Item, export: Export) -> dict[str, Any]:
    height, width = item.mask.shape
    return {
        "filepath": f"{export.images}/{item.name}",
        "tags": [],
        "metadata": {"_cls": "ImageMetadata", "width": width, "height": height},
        **item.values,
        "prediction" if export.predicted else "ground_truth": {
            "_cls": "Segmentation",
            "tags": [],
            "mask": {"$binary": {"base64": _packed(item.mask), "subType": "00"}},
        },
    }


def _packed(mask: np.ndarray) -> str:
    """A mask as FiftyOne stores arrays: NumPy's file of it, compressed; here in base 64, since JSON holds no bytes."""
    file = io.BytesIO()
    np.save(file, mask, allow_pickle=False)
    return base64.b64encode(zlib.compress(file.getvalue())).decode()
