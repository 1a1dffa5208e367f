"""Fashion-MNIST from idx files: what is taken, from where, and what is said if it cannot be had."""

import gzip
import hashlib
from pathlib import Path

import keras
import numpy as np
import pytest

from stages.datasets import fashion_mnist
from stages.datasets.shared.source import open_source
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import NOTHING, DatasetParams
from tests.project import dataset_options

COUNTS = {"train": 12, "test": 5}


def content(item: str, kind: str) -> bytes:
    """An idx file with the header of the format's description (yann.lecun.com/exdb/mnist)."""
    random = np.random.default_rng(len(item))
    count = COUNTS[item]
    if kind == "images":
        head = [0x803, count, 28, 28]
        data = random.integers(0, 256, count * 28 * 28)
    else:
        head = [0x801, count]
        data = random.integers(0, 10, count)
    return b"".join(number.to_bytes(4, "big") for number in head) + data.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small set in files of the real names; nothing is found elsewhere, and there is no network."""
    made = tmp_path / "idx"
    made.mkdir()
    checksums = {}
    for (item, kind), name in fashion_mnist.FILES.items():
        (made / name).write_bytes(content(item, kind))
        checksums[name] = hashlib.sha256(content(item, kind)).hexdigest()
    monkeypatch.setattr(fashion_mnist, "CHECKSUMS", checksums)
    monkeypatch.setattr(fashion_mnist, "COUNTS", COUNTS)
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))

    def no_network() -> None:
        raise OSError("URL fetch failure")

    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", no_network)
    fashion_mnist._read.cache_clear()
    return made


def options(folder: Path | None, **changes: object) -> DatasetParams:
    path = NOTHING if folder is None else str(folder)
    return dataset_options("fashion_mnist", **{"path": path, "train_count": 12, "test_count": 5, **changes})


@pytest.mark.parametrize("item", ["train", "test"])
def test_rows_are_those_of_the_files(folder: Path, item: str) -> None:
    found = open_source(options(folder), item)
    assert (found.layout.count, found.layout.image_shape, found.layout.classes) == (COUNTS[item], (28, 28, 1), 10)
    block = found.draw(range(1, 4))
    pixels = np.frombuffer(content(item, "images")[16:], np.uint8).reshape(-1, 28, 28, 1)
    labels = np.frombuffer(content(item, "labels")[8:], np.uint8).reshape(-1, 1)
    assert np.array_equal(block.images, pixels[1:4])
    assert np.array_equal(block.targets, labels[1:4])
    assert block.images.dtype == block.targets.dtype == np.dtype("uint8")
    reals = open_source(options(folder, dtype="float32"), item).draw(range(1, 4)).images
    np.testing.assert_allclose(reals, pixels[1:4] / 255, rtol=1e-6)
    assert reals.dtype == np.float32


@pytest.mark.parametrize("place", ["debian", "keras/datasets/fashion-mnist"])
def test_compressed_files_are_found_where_debian_and_keras_put_them(folder: Path, tmp_path: Path, place: str) -> None:
    there = tmp_path / place
    there.mkdir(parents=True)
    expected = open_source(options(folder), "test").draw(range(5))
    for file in folder.iterdir():
        (there / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    found = open_source(options(None), "test").draw(range(5))
    assert all(np.array_equal(old, new) for old, new in zip(expected, found, strict=True))


def test_keras_fetches_what_is_nowhere(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch() -> None:
        (tmp_path / "keras/datasets").mkdir(parents=True)
        folder.rename(tmp_path / "keras/datasets/fashion-mnist")

    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", fetch)
    assert len(open_source(options(None), "train").draw(range(12)).images) == 12


def test_without_files_and_network_both_ways_are_told_in_one_line(folder: Path) -> None:
    with pytest.raises(UserError) as caught:
        open_source(options(None), "train")
    line = str(caught.value)
    for said in ("apt install dataset-fashion-mnist", "URL fetch failure", "dataset.path", "train-images-idx3-ubyte"):
        assert said in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"path": "nowhere"}, "dataset.path is 'nowhere', allowed is a folder with train-images-idx3-ubyte"),
        ({"train_count": 13}, "dataset.train_count is 13, allowed for fashion_mnist is at most 12"),
        ({"image_size": 32}, "dataset.image_size is 32, allowed for fashion_mnist is 28 or null"),
    ],
)
def test_what_the_set_does_not_have_is_refused(folder: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        open_source(options(folder, **changes), "train")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        ("", lambda data: data[:-1]),
        ("", lambda data: b"\1" + data[1:]),
        (".gz", lambda data: data[:9]),
        (".gz", lambda data: gzip.compress(data)),
    ],
)
def test_another_file_of_that_name_is_refused(folder: Path, suffix: str, damage: object) -> None:
    file = folder / "train-labels-idx1-ubyte"
    data = file.read_bytes()
    file.unlink()
    file.with_name(file.name + suffix).write_bytes(damage(gzip.compress(data) if suffix else data))  # type: ignore[operator]
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte(\.gz)?: (not the file of Fashion|cannot be read)"):
        open_source(options(folder), "train")


@pytest.mark.skipif(not fashion_mnist.DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_the_real_set_is_the_one_that_is_known() -> None:
    real = open_source(options(None, train_count=60_000, test_count=10_000), "train")
    labels = real.draw(range(60_000)).targets
    assert np.bincount(labels[:, 0]).tolist() == [6000] * 10
    assert labels[:10, 0].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
