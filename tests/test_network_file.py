"""A network of one's own: it comes from its file as it is, or one line says why it cannot."""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from stages.learning.learner import Learner
from stages.networks.shared.build import build_network
from stages.pairs.layout import Layout
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import Params, TrainingParams
from tests import pixelwise, tiny
from tests.project import network_options
from tests.sets import scenes, window, write_set

MASKS = Layout(1, (16, 16, 3), "uint8")


def build(path: Path, layout: Layout = MASKS) -> keras.Model:
    return build_network(network_options("file", path=str(path)), layout, "float32", 0)


def params(path: Path, policy: Any = "float32") -> Params:
    return Params.model_construct(
        score="iou",
        score_background=False,
        network=network_options("file", path=str(path)),
        training=TrainingParams(
            average=0.0,
            augmentation="none",
            learning_rate=0.01,
            loss="bce_dice",
            seed=0,
            precision_policy=policy,
            statistics="moving",
        ),
    )


def saved(network: keras.Model, folder: Path) -> Path:
    path = folder / "own.keras"
    network.save(path)
    return path


def u_net(size: int | None) -> keras.Model:
    """A network with all that makes cloning hard: statistics, a shared layer, a bridge, nested and random layers."""
    images = keras.Input((size, size, 3))
    shared = keras.layers.Conv2D(4, 3, padding="same", activation="relu")
    first = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, padding="same")(images))
    inner = keras.Sequential([keras.Input((None, None, 4)), keras.layers.Conv2D(4, 1), keras.layers.Dropout(0.5)])
    low = inner(shared(shared(keras.layers.MaxPooling2D()(first))))
    joined = keras.layers.Concatenate()([keras.layers.UpSampling2D()(low), first])
    network = keras.Model(images, keras.layers.Conv2D(1, 1, activation="sigmoid")(joined))
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            random = np.random.default_rng(0)
            layer.set_weights([random.random(weight.shape).astype(np.float32) for weight in layer.get_weights()])
    return network


def in_a_row(size: int | None) -> keras.Model:
    last = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")
    return keras.Sequential([keras.Input((size, size, 3)), last])


def ending_in(activation: str | None, scale: float = 1.0) -> keras.Model:
    keras.utils.set_random_seed(0)
    images = keras.Input((16, 16, 3))
    scaled = keras.layers.Rescaling(scale)(images)
    return keras.Model(images, keras.layers.Conv2D(1, 3, padding="same", activation=activation)(scaled))


@pytest.mark.parametrize("activation", [None, "tanh"])
def test_values_that_are_no_probabilities_are_refused_or_get_a_sigmoid(tmp_path: Path, activation: str | None) -> None:
    own = ending_in(activation)
    path = saved(own, tmp_path)
    with pytest.raises(UserError, match=r"predicts values from -\d\S+ to \S+, allowed .* network\.output=logits puts"):
        build(path)
    network = build_network(network_options("file", path=str(path), output="logits"), MASKS, "float32", 0)
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    expected = 1 / (1 + np.exp(-own.predict_on_batch(images)))
    np.testing.assert_allclose(network.predict_on_batch(images), expected, rtol=1e-5)


def test_a_network_that_scales_its_images_down_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"own\.keras: scales its images down by a layer of its own; here they come in"):
        build(saved(ending_in("sigmoid", 1 / 255), tmp_path))
    build(saved(ending_in("sigmoid", 0.5), tmp_path))


@pytest.mark.parametrize("size", [16, None], ids=["fixed", "free"])
@pytest.mark.parametrize("make", [u_net, in_a_row, pixelwise.network])
def test_a_network_keeps_its_weights_and_predicts_as_before(
    tmp_path: Path, make: Callable[[int | None], keras.Model], size: int | None
) -> None:
    own = make(size)
    network = build(saved(own, tmp_path))
    assert (network.input_shape, network.output_shape) == ((None, 16, 16, 3), (None, 16, 16, 1))
    for found, weight in zip(network.get_weights(), own.get_weights(), strict=True):
        np.testing.assert_array_equal(found, weight)
    images = np.random.default_rng(0).random((3, 16, 16, 3), np.float32)
    np.testing.assert_allclose(network(images, training=False), own(images, training=False), rtol=1e-6)


def test_a_network_of_free_size_is_fixed_to_that_of_the_pairs(tmp_path: Path) -> None:
    path = saved(u_net(None), tmp_path)
    for size in (8, 20):
        assert build(path, Layout(1, (size, size, 3), "uint8")).output_shape == (None, size, size, 1)


def test_a_network_computes_in_the_precision_that_it_was_saved_with(tmp_path: Path) -> None:
    for saved_in, asked_for in (("float32", "mixed_bfloat16"), ("mixed_bfloat16", "float32")):
        keras.config.set_dtype_policy(saved_in)
        images = keras.Input((None, None, 3))
        last = keras.layers.Conv2D(1, 1, activation="sigmoid", dtype="float32")
        own = keras.Model(images, last(keras.layers.Conv2D(2, 1)(images)))
        pairs = write_set(tmp_path / f"{saved_in}.zarr", np.zeros((1, 16, 16, 3), np.uint8))
        learner = Learner.new(pairs, params(saved(own, tmp_path), asked_for), 1)
        assert learner.policy == saved_in


def loss_of_one_s_own(truth: Any, predicted: Any) -> Any:
    return keras.ops.mean((truth - predicted) ** 2)


def test_a_compiled_network_is_taken_without_its_optimizer_and_loss(tmp_path: Path) -> None:
    own = pixelwise.network(16)
    own.compile(optimizer="adam", loss=loss_of_one_s_own)
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    own.train_on_batch(images, images[..., :1] > 0.5)
    network = build(saved(own, tmp_path))
    np.testing.assert_array_equal(network(images), own(images))
    assert getattr(network, "optimizer", None) is None


@pytest.mark.parametrize("size", [16, None], ids=["fixed", "free"])
def test_a_network_of_one_s_own_learns_and_goes_on_from_what_is_saved(tmp_path: Path, size: int | None) -> None:
    images = np.stack([window(scene) for scene in scenes(4, size=16)])
    pairs = write_set(tmp_path / "pairs.zarr", images, np.zeros((4, 16, 16, 1), np.uint8))
    options = params(saved(u_net(size), tmp_path))
    learner = Learner.new(pairs, options, 2)
    losses = [learner.fit_epoch(range(4)).loss for _ in range(4)]
    assert losses[-1] < losses[0]
    learner.save(tmp_path / "seed.keras")
    once, again = (Learner.load(tmp_path / "seed.keras", pairs, options, 2) for _ in range(2))
    for found, weight in zip(once.network.get_weights(), learner.network.get_weights(), strict=True):
        np.testing.assert_array_equal(found, weight)
    assert once.fit_epoch(range(4)) == again.fit_epoch(range(4))


def refusal(path: Path | str, layout: Layout = MASKS) -> str:
    with pytest.raises(UserError) as caught:
        build(Path(path), layout)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal("nothing.keras") == "network.path is 'nothing.keras', allowed is a .keras file"
    assert refusal("stages/none") == "network.path is 'stages/none', allowed is a .keras file"
    assert str(tmp_path) in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no network", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"])
def test_a_file_that_is_no_network_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.h5"
    path.write_bytes(content)
    line = refusal(path)
    assert "own.h5: not a Keras model: " in line
    assert "dvc" not in line  # it is no output of a stage


def with_layer(path: Path, **values: Any) -> Path:
    """The file with something else in the config of its convolution."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Conv2D").update(values)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def activation(module: str, name: str) -> dict[str, Any]:
    function = {"class_name": "function", "module": module, "config": name, "registered_name": name}
    return {"config": {"filters": 1, "kernel_size": 1, "activation": function}}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"module": "os", "class_name": "system"}, "it asks for 'system' of the module 'os'"),
        ({"module": "stages.pipeline.entry", "class_name": "run"}, "it asks for 'run' of the module 'stages.pipeline"),
        ({"module": ["os"]}, "it asks for 'Conv2D' of the module ['os']"),
        (
            activation("keras.datasets.mnist", "load_data"),
            "it asks for 'function' of the module 'keras.datasets.mnist'",
        ),
        (activation("keras.utils", "get_file"), "it asks for 'function' of the module 'keras.utils'"),
        (activation("builtins", "eval"), "not a Keras model"),
        ({"module": None, "class_name": "X", "registered_name": "mine>X"}, "not a Keras model"),
    ],
)
def test_a_network_with_parts_from_elsewhere_is_refused(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    assert said in refusal(with_layer(saved(pixelwise.network(16), tmp_path), **values))


def test_code_in_a_network_is_not_run(tmp_path: Path) -> None:
    layer = keras.layers.Lambda(lambda x: x[..., :1])
    assert "Lambda" in refusal(saved(keras.Sequential([keras.Input((16, 16, 3)), layer]), tmp_path))


def test_a_network_of_layers_of_the_project_is_taken(tmp_path: Path) -> None:
    own = tiny.build(network_options("residual_unet", base_filters=1), MASKS)
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    np.testing.assert_array_equal(build(saved(own, tmp_path))(images), own(images))


def classifier(size: int, channels: int = 3) -> keras.Model:
    images = keras.Input((size, size, channels))
    return keras.Model(images, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(images)))


def halving() -> keras.Model:
    images = keras.Input((None, None, 3))
    return keras.Model(images, keras.layers.Conv2D(1, 1)(keras.layers.MaxPooling2D()(images)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: pixelwise.network(16, 1), r"own\.keras: takes images of \(16, 16, 1\), .* are \(16, 16, 3\)"),
        (lambda: pixelwise.network(None, 1), r"own\.keras: takes images of \(None, None, 1\), .* are \(16, 16, 3\)"),
        (lambda: pixelwise.network(32), r"own\.keras: takes images of \(32, 32, 3\), .* are \(16, 16, 3\)"),
        (lambda: classifier(16), r"own\.keras: predicts \(2,\), for the data set it has to be \(16, 16, 1\)"),
        (halving, r"own\.keras: predicts \(8, 8, 1\), for the data set it has to be \(16, 16, 1\)"),
    ],
)
def test_a_network_for_other_pairs_is_refused(tmp_path: Path, make: Callable[[], keras.Model], said: str) -> None:
    assert re.search(said, refusal(saved(make(), tmp_path)))


def test_a_network_of_several_channels_is_refused(tmp_path: Path) -> None:
    images = keras.Input((16, 16, 3))
    path = saved(keras.Model(images, keras.layers.Conv2D(2, 1)(images)), tmp_path)
    assert "predicts (16, 16, 2), for the data set it has to be (16, 16, 1)" in refusal(path)


def test_a_size_that_a_network_cannot_take_is_refused(tmp_path: Path) -> None:
    path = saved(u_net(None), tmp_path)
    assert "own.keras: does not take images of (17, 17, 3): " in refusal(path, Layout(1, (17, 17, 3), "uint8"))


def test_a_network_within_a_network_tells_features(tmp_path: Path) -> None:
    images = keras.Input((16, 16, 3))
    inner = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 3, strides=2, padding="same")])
    masks = keras.layers.Conv2DTranspose(1, 2, strides=2, activation="sigmoid")(inner(images))
    path = saved(keras.Model(images, masks), tmp_path)
    pairs = write_set(tmp_path / "train.zarr", np.zeros((2, 16, 16, 3), np.uint8))
    learner = Learner.new(pairs, params(path), 1)
    assert learner.features(range(2)).shape == (2, 4)
