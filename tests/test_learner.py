"""A network that learns pairs of a set: what an epoch is, what a score is, what a saved network goes on from."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from stages.datasets.ellipses import Ellipses
from stages.learning.learner import Learner
from stages.learning.saving import load_network
from stages.learning.scores import LabelFit, MaskFit, tiered_iou
from stages.pairs.layout import IGNORED, Block, Layout, PixelClass
from stages.pairs.read import Pairs
from stages.pairs.write import create, finish, write_shard
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import Params, TrainingParams
from tests import tiny
from tests.project import network_options
from tests.sets import write_set

COUNT = 11
SIZE = 32
Fresh = Callable[..., Learner]


@pytest.fixture(autouse=True, scope="module")
def tiny_network() -> Iterator[None]:
    """A network more to choose, by the name tiny."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "stages.networks.tiny", tiny)
        yield


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    path = tmp_path_factory.mktemp("data") / "pairs.zarr"
    layout = Layout(COUNT, (SIZE, SIZE, 3), "uint8")
    block = Ellipses(layout, 0, 4, 8, "rectangle").draw(range(COUNT))
    create(path, layout, {})
    finish(path, write_shard(path, layout, 0, block))
    return Pairs(path)


def params(
    policy: Any = "float32",
    statistics: Any = "moving",
    learning_rate: float = 0.01,
    filters: int = 4,
    name: str = "tiny",
    average: float = 0.0,
    augmentation: Any = "none",
) -> Params:
    network = network_options("residual_unet", base_filters=filters)
    return Params.model_construct(
        score="tiered_iou",
        score_background=False,
        network=network.model_copy(update={"name": name}),
        training=TrainingParams(
            average=average,
            augmentation=augmentation,
            learning_rate=learning_rate,
            loss="bce_dice",
            seed=3,
            precision_policy=policy,
            statistics=statistics,
        ),
    )


@pytest.fixture(scope="module")
def fresh(pairs: Pairs) -> Fresh:
    """Learners that are made once, by number and parameters; each time that one is asked for, it is as new."""
    made: dict[tuple[int, str, str, float, str], tuple[Learner, dict[str, np.ndarray]]] = {}

    def learner(
        number: int = 1,
        policy: str = "float32",
        statistics: str = "moving",
        average: float = 0,
        augmentation: str = "none",
    ) -> Learner:
        key = (number, policy, statistics, average, augmentation)
        if key not in made:
            new = Learner.new(pairs, params(policy, statistics, average=average, augmentation=augmentation), 4)
            made[key] = new, new.state()
        found, state = made[key]
        found.restore(state)
        found.after_batch = lambda: None
        return found

    return learner


def weights(learner: Learner) -> list[np.ndarray]:
    return [variable.numpy() for variable in learner.network.variables]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_loaded_learner_goes_on_as_if_it_had_never_stopped(fresh: Fresh, tmp_path: Path, policy: str) -> None:
    goes_on_once_loaded(fresh(1, policy), params(policy), tmp_path)


@pytest.mark.slow
def test_the_article_s_network_goes_on_as_if_it_had_never_stopped(pairs: Pairs, tmp_path: Path) -> None:
    options = params("mixed_bfloat16", filters=2, name="residual_unet")
    goes_on_once_loaded(Learner.new(pairs, options, 4), options, tmp_path)


def goes_on_once_loaded(straight: Learner, options: Params, folder: Path) -> None:
    straight.fit_epoch(range(COUNT))
    straight.save(folder / "network.keras")
    resumed = Learner.load(folder / "network.keras", straight.pairs, options, 4)
    assert resumed.policy == options.training.precision_policy
    assert straight.fit_epoch(range(COUNT)) == resumed.fit_epoch(range(COUNT))
    for old, new in zip(weights(straight), weights(resumed), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_restored_learner_goes_on_in_the_middle_of_an_epoch(fresh: Fresh, policy: str) -> None:
    straight, resumed = fresh(1, policy), fresh(2, policy)
    straight.fit_epoch(range(COUNT))
    states: list[dict[str, np.ndarray]] = []
    straight.after_batch = lambda: states.append(straight.state())
    epoch = straight.fit_epoch(range(COUNT))
    end = straight.state()
    assert len(states) == 3
    for stop, state in enumerate(states, 1):
        resumed.restore(state)
        batches: list[None] = []
        resumed.after_batch = lambda batches=batches: batches.append(None)  # type: ignore[misc]
        assert resumed.fit_epoch(range(COUNT)) == epoch
        assert len(batches) == 3 - stop
        for name, value in resumed.state().items():
            np.testing.assert_array_equal(value, end[name])


def test_verified_scores_do_not_depend_on_how_many_are_asked_for(fresh: Fresh) -> None:
    learner = fresh(1, "mixed_bfloat16")
    together = np.concatenate([fit.table() for fit in learner.fits(range(COUNT))])
    for part in ([3], [10, 0, 7], range(4, 11)):
        alone = np.concatenate([fit.table() for fit in learner.fits(part)])
        np.testing.assert_array_equal(alone, together[list(part)])
    np.testing.assert_array_equal(learner.verify(range(4, 11)).scores, learner.verify(range(COUNT)).scores[4:])


def test_equal_networks_give_equal_files(pairs: Pairs, tmp_path: Path) -> None:
    for name in ("first", "second"):
        keras.backend.clear_session()  # layers are numbered through in a process
        learner = Learner.new(pairs, params(), 5)
        learner.fit_epoch(range(4))
        learner.save(tmp_path / f"{name}.keras")
    assert (tmp_path / "first.keras").read_bytes() == (tmp_path / "second.keras").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.keras", "second.keras"]


def test_an_epoch_takes_each_pair_once_in_a_new_order_and_averages_over_pairs(
    fresh: Fresh, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = fresh()
    batches: list[tuple[np.ndarray, float]] = []
    plain_step = learner._train_step._graph

    def recording_step(images: np.ndarray, masks: np.ndarray) -> tuple[object, object]:
        counts, loss = plain_step(images, masks)
        batches.append((images.copy(), float(loss)))
        return counts, loss

    monkeypatch.setattr(learner._train_step, "_graph", recording_step)
    epochs = [learner.fit_epoch(range(COUNT)) for _ in range(2)]
    assert [len(images) for images, _ in batches] == [4, 4, 3] * 2
    losses = [loss for _, loss in batches]
    assert epochs[0].loss == pytest.approx((4 * losses[0] + 4 * losses[1] + 3 * losses[2]) / COUNT)
    everything = {image.tobytes() for image in pairs.read(range(COUNT)).images}
    first, second = ([image.tobytes() for images, _ in part for image in images] for part in (batches[:3], batches[3:]))
    assert set(first) == set(second) == everything
    assert first != second


def test_a_step_moves_its_pairs_by_its_number_and_scores_leave_them_where_they_are(
    fresh: Fresh, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = fresh(augmentation="dihedral")
    plain_step = learner._train_step._graph
    seen: list[np.ndarray] = []

    def recording_step(images: np.ndarray, masks: np.ndarray) -> object:
        seen.append(images)
        return plain_step(images, masks)

    monkeypatch.setattr(learner._train_step, "_graph", recording_step)
    state, before = learner.state(), learner.score(range(4))
    learner.fit_step(range(4))
    learner.fit_step(range(4))
    learner.restore(state)
    np.testing.assert_array_equal(learner.score(range(4)), before)
    learner.fit_step(range(4))
    learner.fit_step(range(4), as_stored=4)
    stored = pairs.read(range(4)).images
    np.testing.assert_array_equal(seen.pop(), stored)
    for images in seen:
        assert any((image != old).any() for image, old in zip(images, stored, strict=True))
        np.testing.assert_array_equal(np.sort(images, axis=None), np.sort(stored, axis=None))
    assert (seen[0] != seen[1]).any()
    np.testing.assert_array_equal(seen[0], seen[2])


def test_batches_of_any_size_share_one_graph(fresh: Fresh) -> None:
    learner = fresh()
    for count in (1, 4, 7, 11):
        learner.fit_epoch(range(count))
        learner.score(range(count))
        learner.verify(range(count))
    for step in (learner._train_step._graph, learner._graphs["score"], learner._graphs["fit"]):
        assert step.experimental_get_tracing_count() == 1


def test_scores_are_those_of_the_predicted_masks(fresh: Fresh, pairs: Pairs) -> None:
    learner = fresh()
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
    fresh: Fresh, tmp_path: Path, damage: float
) -> None:
    learner = fresh()
    learner.fit_epoch(range(COUNT))
    kernel = learner.network.layers[1].kernel
    values = kernel.numpy()
    values[0, 0, 0, 0] = damage
    kernel.assign(values)
    for attempt in (lambda: learner.fit_epoch(range(COUNT)), learner.state, lambda: learner.save(tmp_path / "a.keras")):
        with pytest.raises(UserError, match=r"in step \d at training\.learning_rate = 0\.01; lower") as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_large_weights_are_saved_and_read_even_if_their_sum_overflows(fresh: Fresh, tmp_path: Path) -> None:
    learner = fresh()
    moment = learner.network.optimizer.variables[-1]
    moment.assign(np.full(moment.shape, 3e38, np.float32))
    assert learner.state()
    learner.save(tmp_path / "a.keras")
    read = load_network(tmp_path / "a.keras").optimizer.variables[-1]
    assert (read.numpy() == moment.numpy()).all()


def test_a_model_that_cannot_be_written_ends_in_its_path_and_the_space_it_takes(fresh: Fresh, tmp_path: Path) -> None:
    learner = fresh()
    full = OSError(28, "No space left on device")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(learner.network), "save", lambda *_: (_ for _ in ()).throw(full))
        line = r"a\.keras: cannot be written: No space left on device; it takes \d+\.\d MB"
        with pytest.raises(UserError, match=line):
            learner.save(tmp_path / "a.keras")
    assert not list(tmp_path.iterdir())


def test_a_renewed_learner_is_a_new_one(fresh: Fresh) -> None:
    learner, other = fresh(1), fresh(2)
    learner.fit_epoch(range(COUNT))
    learner.renew()
    for old, new in zip(other.state().values(), learner.state().values(), strict=True):
        if old.shape:  # the number of epochs goes on
            np.testing.assert_array_equal(old, new)
    assert learner.fit_epoch(range(COUNT)) == other.fit_epoch(range(COUNT))


def test_an_epoch_may_be_cut_short(fresh: Fresh) -> None:
    learner, whole = fresh(1), fresh(2)
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


def test_estimated_statistics_are_those_of_what_was_trained_on(fresh: Fresh, pairs: Pairs) -> None:
    learner = fresh(1, "float32", "estimated")
    learner.fit_epoch(range(8))
    lagging = batch_statistics(learner)
    learner.score(range(COUNT))
    estimated = batch_statistics(learner)
    assert all(not np.array_equal(old, new) for old, new in zip(lagging, estimated, strict=True))
    first = learner.network.layers[1]  # a convolution, which the first normalisation follows
    outputs = first(pairs.read(range(8)).images / np.float32(255)).numpy()
    np.testing.assert_allclose(estimated[0], outputs.mean(axis=(0, 1, 2)), rtol=1e-4)
    learner.score(range(COUNT))
    assert all(np.array_equal(old, new) for old, new in zip(estimated, batch_statistics(learner), strict=True))


def test_statistics_that_are_still_to_be_estimated_are_so_after_a_restart(
    fresh: Fresh, pairs: Pairs, tmp_path: Path
) -> None:
    learner, other = fresh(1, "float32", "estimated"), fresh(2, "float32", "estimated")
    learner.fit_epoch(range(8))
    state = learner.state()
    scores = learner.verify(range(COUNT)).scores
    other.restore(state)
    other.save(tmp_path / "network.keras")
    np.testing.assert_array_equal(other.verify(range(COUNT)).scores, scores)
    loaded = Learner.load(tmp_path / "network.keras", pairs, params(), 4)
    np.testing.assert_array_equal(loaded.verify(range(COUNT)).scores, scores)


def test_the_average_of_weights_is_taken_over_the_moments_that_were_remembered(fresh: Fresh) -> None:
    learner, stopped, resumed = (fresh(number) for number in (1, 2, 3))
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
    stopped.restore(states[3])  # killed after the second step of the second epoch
    stopped.fit_epoch(range(8), remember={2, 7})
    stopped.fit_epoch(range(8), remember={1})
    stopped.fit_epoch(range(8), steps=1, remember={1})
    resumed.restore(state)
    for each in (learner, stopped, resumed):
        each.recall(range(8))
        each.recall(range(8))
        for variable, *values in zip(each.network.trainable_variables, *moments, strict=True):
            np.testing.assert_allclose(variable.numpy(), np.mean(values, axis=0), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(learner.verify(range(COUNT)).scores, resumed.verify(range(COUNT)).scores)


def test_the_average_that_is_recalled_predicts_and_is_saved_beside_a_moving_one(fresh: Fresh, tmp_path: Path) -> None:
    learner = fresh(average=0.5)
    moments = []
    learner.after_batch = lambda: moments.append([each.numpy() for each in learner.trained.trainable_variables])
    learner.fit_epoch(range(8), remember={1, 2})
    learner.recall(range(8))
    learner.save(tmp_path / "network.keras")
    for network in (learner.network, load_network(tmp_path / "network.keras")):
        for variable, *values in zip(network.trainable_variables, *moments, strict=True):
            np.testing.assert_allclose(variable.numpy(), np.mean(values, axis=0), rtol=1e-5, atol=1e-7)


def test_a_moving_average_of_the_weights_predicts_with_statistics_that_moved_as_fast(fresh: Fresh) -> None:
    learner = fresh(average=0.5)
    expected = [variable.numpy() for variable in learner.network.trainable_variables]
    for step in range(3):
        learner.fit_step(range(step, step + 4))
        own = [variable.numpy() for variable in learner.trained.trainable_variables]
        expected = [old + (new - old) / 2 for old, new in zip(expected, own, strict=True)]
    for average, value in zip(learner.network.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(average.numpy(), value, rtol=1e-5, atol=1e-7)
    normalisations = [
        [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
        for network in (learner.network, learner.trained)
    ]
    assert normalisations[0]
    for twin, layer in zip(*normalisations, strict=True):
        assert layer.momentum == 0.5
        np.testing.assert_array_equal(twin.moving_mean.numpy(), layer.moving_mean.numpy())


def test_the_average_is_saved_and_scores_are_those_of_the_saved_network(
    fresh: Fresh, pairs: Pairs, tmp_path: Path
) -> None:
    learner = fresh(average=0.8)
    learner.fit_step(range(6))
    learner.fit_step(range(3, 9))
    scores = learner.verify(range(COUNT)).scores
    learner.save(tmp_path / "network.keras")
    saved = Learner.load(tmp_path / "network.keras", pairs, params(), 4)
    np.testing.assert_array_equal(saved.verify(range(COUNT)).scores, scores)


def test_a_step_is_left_to_be_saved_by_whoever_counts_it(fresh: Fresh) -> None:
    learner, saved = fresh(), []
    learner.after_batch = lambda: saved.append(1)
    learner.fit_step(range(3))
    assert not saved
    learner.fit_epoch(range(3))
    assert saved


def test_after_a_step_statistics_are_estimated_on_its_pairs(fresh: Fresh) -> None:
    estimated, again, moving = fresh(statistics="estimated"), fresh(statistics="estimated"), fresh()
    for learner in (estimated, again, moving):
        learner.fit_step(range(6))
    scores = estimated.score(range(COUNT))
    np.testing.assert_array_equal(again.score(range(COUNT)), scores)
    moving.score(range(COUNT))
    assert not np.array_equal(estimated.network.get_weights()[-1], moving.network.get_weights()[-1])
    estimated.fit_step(range(6))
    estimated.renew()
    np.testing.assert_array_equal(estimated.score(range(COUNT)), fresh().score(range(COUNT)))


def test_a_step_moves_the_weights_by_its_share_of_the_learning_rate(fresh: Fresh) -> None:
    moved = []
    for rate in (1.0, 0.25):
        learner = fresh()
        before = learner.trained.trainable_variables[0].numpy()
        learner.fit_step(range(6), rate)
        moved.append(learner.trained.trainable_variables[0].numpy() - before)
    np.testing.assert_allclose(moved[1], moved[0] / 4, atol=1e-6)
    assert np.abs(moved[0]).max() > 1e-4


def test_statistics_can_be_those_of_other_pairs(fresh: Fresh) -> None:
    predicted = []
    for positions in (range(0), range(6), range(6, COUNT)):
        learner = fresh(statistics="estimated")
        learner.fit_step(range(6))
        if positions:
            learner.estimate(positions)
        predicted.append(learner.predict(range(COUNT)))
    np.testing.assert_array_equal(predicted[1], predicted[0])
    assert not np.array_equal(predicted[2], predicted[0])


def test_steps_go_on_from_a_state_bit_for_bit(fresh: Fresh) -> None:
    straight, resumed = fresh(1, average=0.8), fresh(2, average=0.8)
    straight.fit_step([5, 1, 2])
    state = straight.state()
    expected = straight.fit_step([0, 7])
    resumed.restore(state)
    assert resumed.fit_step([0, 7]) == expected
    for one, other in zip(straight.state().values(), resumed.state().values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_verified_score_does_not_depend_on_the_pairs_around_it(fresh: Fresh) -> None:
    learner = fresh(average=0.8)
    for step in range(4):
        learner.fit_step(range(step, step + 6))
    fits = np.concatenate([fit.table() for fit in learner.fits(range(COUNT))])
    for order in (np.random.default_rng(seed).permutation(COUNT) for seed in range(3)):
        shuffled = np.concatenate([fit.table() for fit in learner.fits(order[: COUNT // 2])])
        np.testing.assert_array_equal(shuffled, fits[order[: COUNT // 2]])


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """Images of which the brightness tells the class."""
    path = tmp_path_factory.mktemp("labels") / "pairs.zarr"
    layout = Layout(30, (8, 8, 1), "uint8", classes=3)
    labels = np.arange(30, dtype=np.uint8).reshape(-1, 1) % 3
    images = np.random.default_rng(0).integers(0, 60, (30, 8, 8, 1)) + 90 * labels[:, :, None, None]
    create(path, layout, {})
    finish(path, write_shard(path, layout, 0, Block(images.astype(np.uint8), labels)))
    return Pairs(path)


@pytest.mark.parametrize("name", ["dense", "cnn"])
def test_classes_are_learnt_and_scored(labelled: Pairs, tmp_path: Path, name: str) -> None:
    options = Params.model_construct(
        score="hit_rate",
        score_background=False,
        network=network_options(name),
        training=TrainingParams(
            average=0.0,
            augmentation="none",
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
    with pytest.raises(UserError, match=r"its pairs have labels; this strategy chooses by the shapes of masks"):
        learner.shapes(range(2))
    learner.save(tmp_path / "network.keras")
    loaded = Learner.load(tmp_path / "network.keras", labelled, options, 8)
    np.testing.assert_array_equal(loaded.verify(range(30)).scores, learner.verify(range(30)).scores)


def test_what_an_earlier_network_has_learnt_is_taken_over_and_the_parameters_stay(
    fresh: Fresh, pairs: Pairs, tmp_path: Path
) -> None:
    earlier, same = fresh(1), fresh(2)
    earlier.fit_epoch(range(8))
    earlier.save(tmp_path / "core.keras")
    slower = Learner.new(pairs, params(learning_rate=0.0005), 4)
    slower.take_over(tmp_path / "core.keras")
    np.testing.assert_array_equal(slower.verify(range(COUNT)).scores, earlier.verify(range(COUNT)).scores)
    assert float(slower.network.optimizer.learning_rate.numpy()) == np.float32(0.0005)
    same.take_over(tmp_path / "core.keras")
    assert same.fit_epoch(range(8)) == earlier.fit_epoch(range(8))
    np.testing.assert_array_equal(same.verify(range(COUNT)).scores, earlier.verify(range(COUNT)).scores)
    wider = Learner.new(pairs, params(filters=8), 4)
    with pytest.raises(UserError, match=r"core\.keras: a network tiny of \d+ weights, the parameters ask for"):
        wider.take_over(tmp_path / "core.keras")


@pytest.fixture(scope="module")
def of_classes(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """Ellipses and the rectangles beside them, a class each; a border is ignored."""
    classes = [PixelClass(name, place, "#000000") for place, name in enumerate(("background", "ellipse", "rectangle"))]
    layout = Layout(COUNT, (SIZE, SIZE, 3), "uint8", 3, "pixels")
    block = Ellipses(layout, 0, 4, 8, "rectangle", classes).draw(range(COUNT))
    block.targets[:, :2] = IGNORED
    return write_set(tmp_path_factory.mktemp("classes") / "pairs.zarr", *block, pixel_classes=classes)


def test_classes_of_pixels_are_learnt_and_scored(of_classes: Pairs, tmp_path: Path) -> None:
    options = params(augmentation="dihedral")
    training = options.training.model_copy(update={"loss": "crossentropy_dice"})
    options = options.model_copy(update={"score": "iou", "training": training})
    learner = Learner.new(of_classes, options, 4)
    assert learner.network.output_shape == (None, SIZE, SIZE, 3)
    first = learner.fit_epoch(range(COUNT))
    for _ in range(40):
        last = learner.fit_epoch(range(COUNT))
    assert last.loss < 0.85 * first.loss
    (fit,) = learner.fits(range(COUNT))
    np.testing.assert_array_equal(learner.score(range(COUNT)), fit.closeness())
    goes_on_once_loaded(learner, options, tmp_path)
