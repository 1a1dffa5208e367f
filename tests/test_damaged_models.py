"""Damaged .keras files: a network is read whole, or one line names the file and the way to restore it."""

import io
import json
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.learning.optimizers import Adam
from stages.learning.saving import RANDOM, load_network, load_with_optimizer, save_network
from stages.pairs.layout import Layout
from tests import tiny
from tests.damage import examples, line_of, refused
from tests.project import network_options

Members = dict[str, bytes]
WEIGHTS = "model.weights.h5"
FIRST = "layers/conv2d/vars/0"
MODEL = Path("models/core.keras")
IMAGES = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Members:
    """The parts of a good model."""
    network = tiny.build(network_options("residual_unet", base_filters=2), Layout(1, (16, 16, 3), "uint8"))
    network.compile(optimizer=Adam(0.01))
    network.optimizer.build(network.trainable_variables)
    path = tmp_path_factory.mktemp("model") / "network.keras"
    save_network(network, path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a folder of models."""
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def packed(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def with_weights(members: Members, change: Callable[[Any], Any]) -> bytes:
    """The model with its file of weights changed."""
    buffer = io.BytesIO(members[WEIGHTS])
    with h5py.File(buffer, "r+") as file:
        change(file)
    return packed({**members, WEIGHTS: buffer.getvalue()})


def replace(file: Any, name: str, values: np.ndarray) -> None:
    del file[name]
    file[name] = values


def fill(file: Any, name: str, value: float) -> None:
    file[name][...] = value


def with_network(members: Members, change: Callable[[Any], Any]) -> bytes:
    """The model with another config."""
    return packed({**members, "config.json": json.dumps(change(json.loads(members["config.json"]))).encode()})


def with_a_flipped_bit(members: Members) -> bytes:
    content, weights = bytearray(packed(members)), members[WEIGHTS]
    content[content.index(weights) + len(weights) // 2] ^= 1
    return bytes(content)


DAMAGES: dict[str, tuple[Callable[[Members], bytes], str]] = {
    "nothing": (lambda m: b"", "not a zip file"),
    "the weights alone": (lambda m: m[WEIGHTS], "not a zip file"),
    "half an archive": (lambda m: packed(m)[: len(packed(m)) // 2], "not a zip file"),
    "a flipped bit of a weight": (with_a_flipped_bit, "the checksum of model.weights.h5 does not match"),
    "no weights": (lambda m: packed({k: v for k, v in m.items() if k != WEIGHTS}), "Expected a model.weights.h5"),
    "no config": (lambda m: packed({k: v for k, v in m.items() if k != "config.json"}), "config.json"),
    "weights cut off": (lambda m: packed({**m, WEIGHTS: m[WEIGHTS][:-3000]}), "truncated file"),
    "a config that is no JSON": (lambda m: packed({**m, "config.json": b"{"}), "property name"),
    "a config that is a list": (lambda m: packed({**m, "config.json": b"[]"}), "type <class 'list'>"),
    "a layer in place of a network": (lambda m: with_network(m, lambda c: c["config"]["layers"][0]), "it holds a"),
    "a weight of another shape": (lambda m: with_weights(m, lambda f: replace(f, FIRST, np.ones((3, 3, 3, 4)))), ""),
    "a weight that is missing": (lambda m: with_weights(m, lambda f: f.pop(FIRST)), ""),
    "a layer that is missing": (lambda m: with_weights(m, lambda f: f.pop("layers/conv2d")), ""),
    "a weight that is NaN": (lambda m: with_weights(m, lambda f: fill(f, FIRST, math.nan)), "not finite"),
    "a moment that is infinite": (
        lambda m: with_weights(m, lambda f: fill(f, "optimizer/vars/3", math.inf)),
        "not finite",
    ),
    "a moment that is missing": (lambda m: with_weights(m, lambda f: f.pop("optimizer/vars/3")), "Skipping variable"),
    "no moments": (lambda m: with_weights(m, lambda f: f.pop("optimizer")), ""),
}


def refused_model() -> str:
    """The line that the model is refused in."""
    line = refused(lambda: load_network(MODEL))
    assert line.startswith("models/core.keras: not a Keras model: ")
    assert line.endswith("; `dvc checkout --force models/core.keras` restores it")
    return line


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_ends_in_one_line(folder: Path, members: Members, damage: str) -> None:
    make, reason = DAMAGES[damage]
    MODEL.write_bytes(make(members))
    assert reason in refused_model()


def test_a_model_that_is_missing_ends_in_one_line(folder: Path) -> None:
    line = "models/core.keras: missing; `dvc checkout models/core.keras` or `dvc repro` brings it back"
    assert refused(lambda: load_network(MODEL)) == line


def test_a_folder_is_no_model(folder: Path) -> None:
    MODEL.mkdir()
    assert "Is a directory" in refused_model()


def test_code_in_a_model_is_not_run(folder: Path) -> None:
    layer = keras.layers.Lambda(lambda x: x[..., :1])
    keras.Sequential([keras.Input((16, 16, 3)), layer]).save(MODEL)
    assert "Lambda" in refused_model()


def test_a_network_that_predicts_in_bfloat16_is_refused(folder: Path) -> None:
    layer = keras.layers.Conv2D(1, 1, dtype="mixed_bfloat16")
    keras.Sequential([keras.Input((16, 16, 3)), layer]).save(MODEL)
    assert "expected (n, h, w, c) to (n, h, w, 1), (n, h, w, classes) or (n, classes) in float32" in refused_model()


def test_training_does_not_go_on_without_an_optimizer(folder: Path) -> None:
    keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(1, 1)]).save(MODEL)
    assert load_network(MODEL).output_shape == (None, 16, 16, 1)
    assert refused(lambda: load_with_optimizer(MODEL)).startswith("models/core.keras: holds no optimizer")


@pytest.mark.parametrize("random", [None, b"[]", b"[[1, 2], [3, 4]]", b'["x"]', b"[7.5, 1]", b"no JSON"])
def test_training_does_not_go_on_without_the_random_states(
    members: Members, folder: Path, random: bytes | None
) -> None:
    others = {name: content for name, content in members.items() if name != RANDOM}
    MODEL.write_bytes(packed(others if random is None else {**others, RANDOM: random}))
    assert load_network(MODEL).output_shape == (None, 16, 16, 1)
    assert refused(lambda: load_with_optimizer(MODEL)).startswith("models/core.keras: holds no random states")


def predictions(path: Path) -> np.ndarray:
    return np.asarray(load_network(path)(IMAGES, training=False))


@pytest.fixture(scope="module")
def expected(members: Members, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    path = tmp_path_factory.mktemp("model") / "network.keras"
    path.write_bytes(packed(members))
    return predictions(path)


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
@examples
def test_no_bit_of_a_model_changes_its_predictions_unnoticed(
    tmp_path: Path, members: Members, expected: np.ndarray, place: float, bit: int
) -> None:
    path, content = tmp_path / "network.keras", bytearray(packed(members))
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    found: list[np.ndarray] = []
    if line_of(lambda: found.append(predictions(path))) is None:
        np.testing.assert_array_equal(found[0], expected)
