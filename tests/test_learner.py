"""A network that learns pairs of a set: what an epoch is, what a score is, what a saved network goes on from."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from stages import store
from stages.datasets.ellipses import Ellipses
from stages.errors import UserError
from stages.learner import Learner
from stages.params import Params, TrainingParams
from stages.predictor import Predictor
from stages.scores import LabelFit, MaskFit, tiered_iou
from stages.store import Block, Layout, Pairs
from tests.project import network_options

COUNT = 11
SIZE = 32


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    path = tmp_path_factory.mktemp("data") / "pairs.zarr"
    layout = Layout(COUNT, (SIZE, SIZE, 3), "uint8")
    block = Ellipses(layout, 0, 4, 8, "rectangle").draw(range(COUNT))
    store.create(path, layout, {})
    store.finish(path, store.write_shard(path, layout, 0, block))
    return Pairs(path)


def params(
    policy: Any = "float32", learning_rate: float = 0.01, statistics: Any = "moving", base_filters: int = 4
) -> Params:
    return Params.model_construct(
        score="tiered_iou",
        network=network_options("residual_unet", base_filters=base_filters),
        training=TrainingParams(
            learning_rate=learning_rate, loss="bce_dice", seed=3, precision_policy=policy, statistics=statistics
        ),
    )


def weights(learner: Learner) -> list[np.ndarray]:
    return [variable.numpy() for variable in learner.network.variables]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_loaded_learner_goes_on_as_if_it_had_never_stopped(pairs: Pairs, tmp_path: Path, policy: str) -> None:
    straight = Learner.new(pairs, params(policy), 5)
    straight.fit_epoch(range(COUNT))
    straight.save(tmp_path / "network.keras")
    resumed = Learner.load(tmp_path / "network.keras", pairs, params(policy), 5)
    assert resumed.policy == policy
    assert straight.fit_epoch(range(COUNT)) == resumed.fit_epoch(range(COUNT))
    for old, new in zip(weights(straight), weights(resumed), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_restored_learner_goes_on_in_the_middle_of_an_epoch(pairs: Pairs, policy: str) -> None:
    straight = Learner.new(pairs, params(policy), 5)
    straight.fit_epoch(range(COUNT))
    states: list[dict[str, np.ndarray]] = []
    straight.after_batch = lambda: states.append(straight.state())
    epoch = straight.fit_epoch(range(COUNT))
    end = straight.state()
    assert len(states) == 3
    resumed = Learner.new(pairs, params(policy), 5)
    for stop, state in enumerate(states, 1):
        resumed.restore(state)
        batches: list[None] = []
        resumed.after_batch = lambda batches=batches: batches.append(None)  # type: ignore[misc]
        assert resumed.fit_epoch(range(COUNT)) == epoch
        assert len(batches) == 3 - stop
        for name, value in resumed.state().items():
            np.testing.assert_array_equal(value, end[name])


def test_verified_scores_do_not_depend_on_how_many_are_asked_for(pairs: Pairs) -> None:
    learner = Learner.new(pairs, params("mixed_bfloat16"), 5)
    together = np.concatenate([fit.table() for fit in learner.fits(range(COUNT))])
    for part in ([3], [10, 0, 7], range(4, 11)):
        alone = np.concatenate([fit.table() for fit in learner.fits(part)])
        np.testing.assert_array_equal(alone, together[list(part)])
    np.testing.assert_array_equal(learner.verify(range(4, 11)), learner.verify(range(COUNT))[4:])


def test_equal_networks_give_equal_files(pairs: Pairs, tmp_path: Path) -> None:
    for name in ("first", "second"):
        keras.backend.clear_session()  # layers are numbered through in a process
        learner = Learner.new(pairs, params(), 5)
        learner.fit_epoch(range(4))
        learner.save(tmp_path / f"{name}.keras")
    assert (tmp_path / "first.keras").read_bytes() == (tmp_path / "second.keras").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.keras", "second.keras"]


def test_an_epoch_takes_each_pair_once_in_a_new_order_and_averages_over_pairs(pairs: Pairs) -> None:
    learner = Learner.new(pairs, params(), 5)
    batches: list[tuple[np.ndarray, float]] = []
    plain_step = learner._train_step

    def recording_step(images: np.ndarray, masks: np.ndarray) -> tuple[object, object]:
        counts, loss = plain_step(images, masks)
        batches.append((images.copy(), float(loss)))
        return counts, loss

    learner._train_step = recording_step
    epochs = [learner.fit_epoch(range(COUNT)) for _ in range(2)]
    assert [len(images) for images, _ in batches] == [5, 5, 1] * 2
    losses = [loss for _, loss in batches]
    assert epochs[0].loss == pytest.approx((5 * losses[0] + 5 * losses[1] + losses[2]) / COUNT)
    everything = {image.tobytes() for image in pairs.read(range(COUNT)).images}
    first, second = ([image.tobytes() for images, _ in part for image in images] for part in (batches[:3], batches[3:]))
    assert set(first) == set(second) == everything
    assert first != second


def test_batches_of_any_size_share_one_graph(pairs: Pairs) -> None:
    learner = Learner.new(pairs, params(), 4)
    for count in (1, 4, 7, 11):
        learner.fit_epoch(range(count))
        learner.score(range(count))
        learner.verify(range(count))
    for step in (learner._train_step, learner._score_step, learner._predict_step):
        assert step.experimental_get_tracing_count() == 1


def test_scores_are_those_of_the_predicted_masks(pairs: Pairs) -> None:
    learner = Learner.new(pairs, params(), 11)
    positions = [7, 2, 9]
    block = pairs.read(positions)
    predicted = learner.network(block.images / np.float32(255), training=False).numpy()
    (fit,) = learner.fits(positions)
    assert isinstance(fit, MaskFit)
    assert fit.soft is not None
    for number, (mask, probabilities) in enumerate(zip(block.targets, predicted, strict=True)):
        chosen = probabilities > 0.5
        hit, union = (mask * chosen).sum(), (mask | chosen).sum()
        assert fit.mask.true_positive[number] == hit
        assert fit.mask.true_positive[number] + fit.mask.false_negative[number] == mask.sum()
        assert sum(count[number] for count in fit.mask) == SIZE * SIZE
        assert fit.soft.true_positive[number] == pytest.approx((mask * probabilities).sum(), rel=1e-4)
        expected = np.floor(max(0, (hit / union - 0.45) * 20)) / 10
        assert learner.score(positions)[number] == expected
    assert 0 < fit.mask.true_positive.sum() < block.targets.sum()
    np.testing.assert_array_equal(learner.score(positions), tiered_iou(fit.mask))


@pytest.mark.parametrize("damage", [np.nan, np.inf])
def test_training_that_is_no_longer_finite_stops_and_is_never_saved(
    pairs: Pairs, tmp_path: Path, damage: float
) -> None:
    learner = Learner.new(pairs, params(learning_rate=0.25), 11)
    learner.fit_epoch(range(COUNT))
    kernel = learner.network.layers[1].kernel
    values = kernel.numpy()
    values[0, 0, 0, 0] = damage
    kernel.assign(values)
    for attempt in (lambda: learner.fit_epoch(range(COUNT)), learner.state, lambda: learner.save(tmp_path / "a.keras")):
        with pytest.raises(UserError, match=r"in epoch 2 at training\.learning_rate = 0\.25; lower") as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_large_weights_are_saved_and_read_even_if_their_sum_overflows(pairs: Pairs, tmp_path: Path) -> None:
    learner = Learner.new(pairs, params(), 11)
    moment = learner.network.optimizer.variables[-1]
    moment.assign(np.full(moment.shape, 3e38, np.float32))
    assert learner.state()
    learner.save(tmp_path / "a.keras")
    read = Learner.load(tmp_path / "a.keras", pairs, params(), 11).network.optimizer.variables[-1]
    assert (read.numpy() == moment.numpy()).all()


def test_a_model_that_cannot_be_written_ends_in_its_path_and_the_space_it_takes(pairs: Pairs, tmp_path: Path) -> None:
    learner = Learner.new(pairs, params(), 11)
    full = OSError(28, "No space left on device")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(learner.network), "save", lambda *_: (_ for _ in ()).throw(full))
        line = r"a\.keras: cannot be written: No space left on device; it takes \d+\.\d MB"
        with pytest.raises(UserError, match=line):
            learner.save(tmp_path / "a.keras")
    assert not list(tmp_path.iterdir())


def test_a_network_for_other_images_is_refused(pairs: Pairs) -> None:
    network = Learner.new(pairs, params(), 11).network
    other = Pairs(pairs.path)
    object.__setattr__(other, "layout", Layout(COUNT, (64, 64, 3), "uint8"))
    with pytest.raises(UserError, match=r"64, 64, 3.*32, 32, 3"):
        Predictor(network, other)


@pytest.mark.parametrize("content", [b"", b"no model", b"PK\x03\x04 broken"])
def test_a_file_that_is_no_model_ends_in_one_line(pairs: Pairs, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "network.keras"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"network\.keras: not a Keras model") as caught:
        Learner.load(path, pairs, params(), 5)
    assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(UserError, match="missing"):
        Learner.load(path, pairs, params(), 5)


def test_a_renewed_learner_is_a_new_one(pairs: Pairs) -> None:
    learner, fresh = Learner.new(pairs, params(), 5), Learner.new(pairs, params(), 5)
    learner.fit_epoch(range(COUNT))
    learner.renew()
    for old, new in zip(fresh.state().values(), learner.state().values(), strict=True):
        if old.shape:  # the number of epochs goes on
            np.testing.assert_array_equal(old, new)
    assert learner.fit_epoch(range(COUNT)) == fresh.fit_epoch(range(COUNT))


def test_an_epoch_may_be_cut_short(pairs: Pairs) -> None:
    learner, whole = Learner.new(pairs, params(), 4), Learner.new(pairs, params(), 4)
    batches: list[int] = []
    learner.after_batch = lambda: batches.append(1)
    learner.fit_epoch(range(COUNT), 2)
    assert len(batches) == 2
    assert learner.fit_epoch(range(COUNT), 9).loss > 0
    assert len(batches) == 5
    whole.fit_epoch(range(COUNT), None)
    assert int(whole.network.optimizer.iterations.numpy()) == 3


def batch_statistics(learner: Learner) -> list[np.ndarray]:
    return [variable.numpy() for variable in learner.network.non_trainable_variables if "moving" in variable.path]


def test_estimated_statistics_are_those_of_what_was_trained_on(pairs: Pairs) -> None:
    learner = Learner.new(pairs, params(statistics="estimated"), 4)
    learner.fit_epoch(range(8))
    lagging = batch_statistics(learner)
    learner.score(range(COUNT))
    estimated = batch_statistics(learner)
    assert all(not np.array_equal(old, new) for old, new in zip(lagging, estimated, strict=True))
    first = learner.network.layers[1]  # a convolution; a ReLU and the first normalisation follow
    outputs = np.maximum(first(pairs.read(range(8)).images / np.float32(255)).numpy(), 0)
    np.testing.assert_allclose(estimated[0], outputs.mean(axis=(0, 1, 2)), rtol=1e-4)
    learner.score(range(COUNT))
    assert all(np.array_equal(old, new) for old, new in zip(estimated, batch_statistics(learner), strict=True))


def test_statistics_that_are_still_to_be_estimated_are_so_after_a_restart(pairs: Pairs, tmp_path: Path) -> None:
    learner = Learner.new(pairs, params(statistics="estimated"), 4)
    learner.fit_epoch(range(8))
    state = learner.state()
    scores = learner.verify(range(COUNT))
    other = Learner.new(pairs, params(statistics="estimated"), 4)
    other.restore(state)
    other.save(tmp_path / "network.keras")
    np.testing.assert_array_equal(other.verify(range(COUNT)), scores)
    loaded = Learner.load(tmp_path / "network.keras", pairs, params(), 4)
    np.testing.assert_array_equal(loaded.verify(range(COUNT)), scores)


def test_the_average_of_weights_is_taken_over_the_moments_that_were_remembered(pairs: Pairs) -> None:
    learner = Learner.new(pairs, params(), 4)
    moments = []
    states = []

    def note() -> None:
        moments.append([variable.numpy() for variable in learner.network.trainable_variables])
        states.append(learner.state())

    learner.after_batch = note
    learner.fit_epoch(range(8), remember=())
    learner.fit_epoch(range(8), remember={2, 7})
    learner.fit_epoch(range(8), remember={1})
    learner.fit_epoch(range(8), steps=1, remember={1})
    state = learner.state()
    moments = [moments[step] for step in (3, 4, 6)]
    stopped = Learner.new(pairs, params(), 4)
    stopped.restore(states[3])  # killed after the second step of the second epoch
    stopped.fit_epoch(range(8), remember={2, 7})
    stopped.fit_epoch(range(8), remember={1})
    stopped.fit_epoch(range(8), steps=1, remember={1})
    resumed = Learner.new(pairs, params(), 4)
    resumed.restore(state)
    for each in (learner, stopped, resumed):
        each.recall(range(8))
        each.recall(range(8))
        for variable, *values in zip(each.network.trainable_variables, *moments, strict=True):
            np.testing.assert_allclose(variable.numpy(), np.mean(values, axis=0), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(learner.verify(range(COUNT)), resumed.verify(range(COUNT)))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """Images of which the brightness tells the class."""
    path = tmp_path_factory.mktemp("labels") / "pairs.zarr"
    layout = Layout(30, (8, 8, 1), "uint8", classes=3)
    labels = np.arange(30, dtype=np.uint8).reshape(-1, 1) % 3
    images = np.random.default_rng(0).integers(0, 60, (30, 8, 8, 1)) + 90 * labels[:, :, None, None]
    store.create(path, layout, {})
    store.finish(path, store.write_shard(path, layout, 0, Block(images.astype(np.uint8), labels)))
    return Pairs(path)


@pytest.mark.parametrize("name", ["dense", "cnn"])
def test_classes_are_learnt_and_scored(labelled: Pairs, tmp_path: Path, name: str) -> None:
    options = Params.model_construct(
        score="hit_rate",
        network=network_options(name),
        training=TrainingParams(
            learning_rate=0.003,
            loss="categorical_crossentropy",
            seed=1,
            precision_policy="float32",
            statistics="moving",
        ),
    )
    learner = Learner.new(labelled, options, 8)
    before = learner.score(range(30)).mean()
    for _ in range(30):
        epoch = learner.fit_epoch(range(30))
    scores = learner.score(range(30))
    assert before < 0.7 < epoch.score <= 1
    assert scores.mean() > 0.9
    (fit,) = learner.fits(range(30))
    assert isinstance(fit, LabelFit)
    probabilities = learner.network(labelled.read(range(30)).images / np.float32(255)).numpy()
    truth = labelled.read(range(30)).targets[:, 0]
    np.testing.assert_allclose(fit.true, probabilities[np.arange(30), truth], rtol=1e-4)
    np.testing.assert_array_equal(scores, probabilities.argmax(axis=1) == truth)
    learner.save(tmp_path / "network.keras")
    loaded = Learner.load(tmp_path / "network.keras", labelled, options, 8)
    np.testing.assert_array_equal(loaded.verify(range(30)), learner.verify(range(30)))


def test_ratings_are_their_formulas(pairs: Pairs, labelled: Pairs) -> None:
    learner = Learner.new(pairs, params(), 4)
    block = pairs.read([3, 0])
    predicted = learner.network(block.images / np.float32(255), training=False).numpy().astype(np.float64)
    entropy = -(predicted * np.log(predicted) + (1 - predicted) * np.log(1 - predicted)).mean(axis=(1, 2))
    np.testing.assert_allclose(learner.uncertainty([3, 0]), entropy, rtol=1e-4)
    errors = np.sqrt(((predicted - block.targets) ** 2).sum(axis=(1, 2)))
    np.testing.assert_allclose(learner.error_norm([3, 0]), errors, rtol=1e-4)
    assert learner.features([3, 0]).shape == (2, 4 * 16)
    classes = Learner.new(
        labelled, params().model_copy(update={"network": network_options("cnn"), "score": "hit_rate"}), 4
    )
    shown = labelled.read([5, 1])
    predicted = classes.network(shown.images / np.float32(255), training=False).numpy().astype(np.float64)
    ranked = np.sort(predicted, axis=1)
    np.testing.assert_allclose(classes.uncertainty([5, 1])[:, 0], 1 - (ranked[:, -1] - ranked[:, -2]), rtol=1e-4)
    errors = np.sqrt(((predicted - np.eye(3)[shown.targets[:, 0]]) ** 2).sum(axis=1))
    np.testing.assert_allclose(classes.error_norm([5, 1])[:, 0], errors, rtol=1e-4)
    assert classes.features([5, 1]).shape == (2, 128)


def test_a_network_of_masks_is_refused_for_labels(pairs: Pairs, labelled: Pairs) -> None:
    network = Learner.new(pairs, params(), 11).network
    with pytest.raises(UserError, match=r"predictions of \(3,\); the network takes \(32, 32, 3\) to \(32, 32, 1\)"):
        Predictor(network, labelled)


def test_what_an_earlier_network_has_learnt_is_taken_over_and_the_parameters_stay(pairs: Pairs, tmp_path: Path) -> None:
    earlier = Learner.new(pairs, params(), 4)
    earlier.fit_epoch(range(8))
    earlier.save(tmp_path / "core.keras")
    slower = Learner.new(pairs, params(learning_rate=0.0005), 4)
    slower.take_over(tmp_path / "core.keras")
    np.testing.assert_array_equal(slower.verify(range(COUNT)), earlier.verify(range(COUNT)))
    assert float(slower.network.optimizer.learning_rate.numpy()) == np.float32(0.0005)
    same = Learner.new(pairs, params(), 4)
    same.take_over(tmp_path / "core.keras")
    assert same.fit_epoch(range(8)) == earlier.fit_epoch(range(8))
    np.testing.assert_array_equal(same.verify(range(COUNT)), earlier.verify(range(COUNT)))
    wider = Learner.new(pairs, params(base_filters=8), 4)
    with pytest.raises(UserError, match=r"core\.keras: a network residual_unet of \d+ weights, the parameters ask for"):
        wider.take_over(tmp_path / "core.keras")
