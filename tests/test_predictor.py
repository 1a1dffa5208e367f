"""A network that predicts: which one fits a set, its probabilities, and ratings against their formulas."""

from collections.abc import Callable

import keras
import numpy as np
import pytest

from stages.learning.predictor import Predictor
from stages.learning.scores import ClassFit
from stages.pairs.layout import IGNORED, PixelClass
from stages.pairs.read import Pairs
from stages.pipeline.errors import UserError
from tests import pixelwise
from tests.sets import write_set

COUNT, SIZE, CLASSES = 7, 16, 3
GAIN = 4


@pytest.fixture(scope="module", params=["uint8", "float32"])
def masks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """Of masks: a network that is the surer the brighter a pixel is."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
    if request.param == "float32":
        images = images.astype(np.float32) / np.float32(255)
    targets = random.integers(0, 2, (COUNT, SIZE, SIZE, 1), np.uint8)
    pairs = write_set(tmp_path_factory.mktemp("masks") / "pairs.zarr", images, targets)
    return Predictor(pixelwise.network(SIZE, gain=GAIN), pairs)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """Of classes: a network with a layer of five features before its output."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (COUNT, SIZE, SIZE, 1), np.uint8)
    targets = random.integers(0, CLASSES, (COUNT, 1), np.uint8)
    pairs = write_set(tmp_path_factory.mktemp("labels") / "pairs.zarr", images, targets, CLASSES)
    keras.utils.set_random_seed(0)
    return Predictor(classifier(), pairs)


def classifier() -> keras.Model:
    images = keras.Input((SIZE, SIZE, 1))
    features = keras.layers.Dense(5, activation="relu")(keras.layers.Flatten()(images))
    return keras.Model(images, keras.layers.Dense(CLASSES, activation="softmax")(features))


def probabilities_of(predictor: Predictor, positions: list[int]) -> np.ndarray:
    """By the network alone; float64."""
    pairs = predictor.pairs
    images = pairs.read(positions).images / np.float32(pairs.layout.scale)
    return np.asarray(predictor.network(images, training=False), np.float64)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: pixelwise.network(32),
            r"images of \(16, 16, 3\), .*; the network takes \(32, 32, 3\) to \(32, 32, 1\)",
        ),
        (classifier, r"predictions of \(16, 16, 1\); the network takes \(16, 16, 1\) to \(3,\)"),
    ],
)
def test_a_network_for_other_pairs_is_refused(masks: Predictor, make: Callable[[], keras.Model], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Predictor(make(), masks.pairs)


def test_a_network_of_masks_is_refused_for_labels(labels: Predictor) -> None:
    with pytest.raises(UserError, match=r"predictions of \(3,\); the network takes \(16, 16, 1\) to \(16, 16, 1\)"):
        Predictor(pixelwise.network(SIZE, 1), labels.pairs)


def test_predictions_are_those_of_scaled_images(masks: Predictor) -> None:
    predicts_scaled_images(masks)


def test_predicted_classes_are_those_of_scaled_images(labels: Predictor) -> None:
    predicts_scaled_images(labels)


def predicts_scaled_images(predictor: Predictor) -> None:
    expected = probabilities_of(predictor, [5, 1, 2])
    for found in (predictor.predict([5, 1, 2]), predictor.map(predictor.pairs.read([5, 1, 2]).images)):
        assert str(found.dtype) == "float32"
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert predictor.predict([]).shape == (0, *expected.shape[1:])


def test_kept_predictions_are_those_of_keras_to_the_last_bit(masks: Predictor) -> None:
    pairs: Pairs = masks.pairs
    images = pairs.read(range(COUNT)).images / np.float32(pairs.layout.scale)
    np.testing.assert_array_equal(masks.predict(range(COUNT)), masks.network.predict_on_batch(images))


def test_ratings_of_masks_are_their_formulas(masks: Predictor) -> None:
    predicted = probabilities_of(masks, [3, 0])
    entropy = -(predicted * np.log(predicted) + (1 - predicted) * np.log(1 - predicted)).mean(axis=(1, 2))
    np.testing.assert_allclose(masks.uncertainty([3, 0]), entropy, rtol=1e-4)
    errors = np.sqrt(((predicted - masks.pairs.read([3, 0]).targets) ** 2).sum(axis=(1, 2)))
    np.testing.assert_allclose(masks.error_norm([3, 0]), errors, rtol=1e-4)


def test_ratings_of_labels_are_their_formulas(labels: Predictor) -> None:
    predicted = probabilities_of(labels, [5, 1])
    ranked = np.sort(predicted, axis=1)
    np.testing.assert_allclose(labels.uncertainty([5, 1])[:, 0], 1 - (ranked[:, -1] - ranked[:, -2]), rtol=1e-4)
    truth = np.eye(CLASSES)[labels.pairs.read([5, 1]).targets[:, 0]]
    errors = np.sqrt(((predicted - truth) ** 2).sum(axis=1))
    np.testing.assert_allclose(labels.error_norm([5, 1])[:, 0], errors, rtol=1e-4)


def test_features_of_masks_are_means_over_the_last_layer_of_the_smallest_height(masks: Predictor) -> None:
    images = keras.Input((SIZE, SIZE, 3))
    low = keras.layers.Conv2D(5, 3, padding="same")(keras.layers.AveragePooling2D(4)(images))
    network = keras.Model(images, keras.layers.Conv2D(1, 1)(keras.layers.UpSampling2D(4)(low)))
    scaled = masks.pairs.read([3, 0]).images / np.float32(masks.pairs.layout.scale)
    expected = keras.Model(images, low)(scaled).numpy().mean(axis=(1, 2))
    np.testing.assert_allclose(Predictor(network, masks.pairs).features([3, 0]), expected, rtol=1e-4)


def test_features_of_labels_are_the_inputs_of_the_last_layer(labels: Predictor) -> None:
    scaled = labels.pairs.read([5, 1]).images / np.float32(255)
    expected = keras.Model(labels.network.input, labels.network.layers[-2].output)(scaled)
    np.testing.assert_allclose(labels.features([5, 1]), expected, rtol=1e-4)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """Of masks of classes, some pixels ignored: a network that sees each pixel alone."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
    targets = random.choice(np.array([0, 1, 2, IGNORED], np.uint8), (COUNT, SIZE, SIZE, 1))
    named = [PixelClass(str(place), place, "#000000") for place in range(CLASSES)]
    pairs = write_set(tmp_path_factory.mktemp("classes") / "pairs.zarr", images, targets, pixel_classes=named)
    keras.utils.set_random_seed(1)
    given = keras.Input((SIZE, SIZE, 3))
    return Predictor(keras.Model(given, keras.layers.Conv2D(CLASSES, 1, activation="softmax")(given)), pairs)


def test_pixels_of_classes_are_counted_without_the_ignored_ones(classes: Predictor) -> None:
    found = probabilities_of(classes, list(range(COUNT))).argmax(axis=3)
    truth = classes.pairs.read(range(COUNT)).targets[..., 0]
    (fit,) = classes.fits(range(COUNT))
    assert isinstance(fit, ClassFit)
    counted = truth != IGNORED
    for number in range(CLASSES):
        true, said = (truth == number) & counted, (found == number) & counted
        for kind, expected in zip(fit[:3], (true & said, said & ~true, true & ~said), strict=True):
            np.testing.assert_array_equal(kind[:, number], expected.sum(axis=(1, 2)))


def test_ratings_of_classes_are_their_formulas(classes: Predictor) -> None:
    predicted = probabilities_of(classes, [3, 0])
    entropy = -(predicted * np.log(predicted)).sum(axis=3).mean(axis=(1, 2))
    np.testing.assert_allclose(classes.uncertainty([3, 0])[:, 0], entropy, rtol=1e-4)
    masks = classes.pairs.read([3, 0]).targets[..., 0]
    truth = np.eye(CLASSES)[np.where(masks == IGNORED, 0, masks)]
    errors = ((predicted - truth) ** 2).sum(axis=3) * (masks != IGNORED)
    np.testing.assert_allclose(classes.error_norm([3, 0])[:, 0], np.sqrt(errors.sum(axis=(1, 2))), rtol=1e-4)
