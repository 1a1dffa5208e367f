"""Fashion-MNIST (Xiao, Rasul & Vollgraf, 2017): 60,000 + 10,000 grey images of clothes, 28×28, in ten classes.

Its four idx files, as they are or compressed by gzip, are taken from the folder that is named, from where Debian's
package ``dataset-fashion-mnist`` puts them, or from where Keras' own loader does, which fetches them if it can.
"""

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from stages.pairs.layout import Block, Layout
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import NOTHING, DatasetParams

SIZE = 28
CLASSES = 10
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
COUNTS = {"train": 60_000, "test": 10_000}
HEADER_BYTES = {"images": 16, "labels": 8}  # of an idx file: its kind, and the length of each axis in four bytes
FILES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}

# SHA-256 of the files' content, uncompressed.
CHECKSUMS = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


@dataclass(frozen=True)
class FashionMnist:
    """The first images of the training or the test set, with labels from 0 to 9.

    Attributes
    ----------
    folder : Path
        The folder of the idx files.
    item : {"train", "test"}
        Which of the two sets.
    layout : Layout
        Of the pairs.
    """

    folder: Path
    item: str
    layout: Layout
    origins: None = None

    def draw(self, rows: range) -> Block:
        """The pairs of a range of rows, images (n, 28, 28, 1) and labels (n, 1)."""
        images, labels = (
            _read(self.folder / FILES[self.item, kind], HEADER_BYTES[kind]) for kind in ("images", "labels")
        )
        drawn = images.reshape(-1, SIZE, SIZE, 1)[rows.start : rows.stop]
        if self.layout.dtype == "float32":
            drawn = drawn.astype(np.float32) / 255
        return Block(drawn, labels.reshape(-1, 1)[rows.start : rows.stop])


def source(options: DatasetParams, item: str) -> FashionMnist:
    """The set that the parameters name.

    Raises
    ------
    UserError
        If the files cannot be had or are not the right ones, or more images or others are asked for than there are.
    """
    count = options.train_count if item == "train" else options.test_count
    assert count is not None  # nulls are replaced
    if count > COUNTS[item]:
        raise UserError(
            f"dataset.{item}_count is {count}, allowed for fashion_mnist is at most {COUNTS[item]}, all that there are"
        )
    if options.image_size != SIZE:
        raise UserError(f"dataset.image_size is {options.image_size}, allowed for fashion_mnist is {SIZE} or null")
    folder = _find(options.path, item)
    for kind, header in HEADER_BYTES.items():
        _read(folder / FILES[item, kind], header)  # so that damage is found before any work is done
    return FashionMnist(folder, item, Layout(count, (SIZE, SIZE, 1), options.dtype, CLASSES))


def _find(path: str, item: str) -> Path:
    """The folder that holds the files of a set."""
    if path != NOTHING:
        if not _is_there(Path(path), item):
            raise UserError(f"dataset.path is {path!r}, allowed is a folder with {_names(item)}, or {NOTHING}")
        return Path(path)
    fetched = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "datasets" / "fashion-mnist"
    for folder in (DEBIAN, fetched):
        if _is_there(folder, item):
            return folder
    try:
        import keras  # loads TensorFlow: only where it is needed

        keras.datasets.fashion_mnist.load_data()
    except Exception as error:  # Keras raises many kinds without a network
        raise UserError(
            f"Fashion-MNIST is neither in {DEBIAN} (`apt install dataset-fashion-mnist`) nor could Keras fetch it "
            f"({' '.join(str(error).split())[:100]}); set dataset.path to a folder with {_names(item)}"
        ) from None
    return fetched


def _names(item: str) -> str:
    return " and ".join(f"{FILES[item, kind]}[.gz]" for kind in HEADER_BYTES)


def _is_there(folder: Path, item: str) -> bool:
    return all(_file(folder / FILES[item, kind]).is_file() for kind in HEADER_BYTES)


def _file(path: Path) -> Path:
    """A file, or if it is not there the one that gzip made of it."""
    return path if path.is_file() else path.with_name(path.name + ".gz")


@lru_cache(maxsize=4)
def _read(path: Path, header: int) -> np.ndarray:
    """The bytes of an idx file behind its header, after its checksum is verified; uint8, flat."""
    file = _file(path)
    try:
        content = file.read_bytes()
        if file.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file}: cannot be read: {error}") from None
    if hashlib.sha256(content).hexdigest() != CHECKSUMS[path.name]:
        raise UserError(f"{file}: not the file of Fashion-MNIST: its checksum does not match")
    return np.frombuffer(content, np.uint8)[header:]
