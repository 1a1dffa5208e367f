"""A network that learns pairs of a set: what an epoch is, what a score is, what a saved network goes on from."""

from pathlib import Path

import keras
import numpy as np
import pytest

from stages import store
from stages.datasets.ellipses import Ellipses
from stages.errors import UserError
from stages.learner import Learner, Predictor
from stages.params import NetworkParams, Params, TrainingParams
from stages.scores import tiered_iou
from stages.store import Layout, Pairs

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


def params(policy: str = "float32", learning_rate: float = 0.01) -> Params:
    return Params.model_construct(
        score="tiered_iou",
        network=NetworkParams(name="residual_unet", base_filters=4, dropout=0.5),
        training=TrainingParams(learning_rate=learning_rate, loss="bce_dice", seed=3, precision_policy=policy),  # type: ignore[arg-type]
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
    together = np.concatenate([np.stack([*fit.mask, *fit.soft]) for fit in learner.fits(range(COUNT))], axis=1)
    for part in ([3], [10, 0, 7], range(4, 11)):
        alone = np.concatenate([np.stack([*fit.mask, *fit.soft]) for fit in learner.fits(part)], axis=1)
        np.testing.assert_array_equal(alone, together[:, list(part)])
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
    assert learner._train_step.experimental_get_tracing_count() == 1
    assert learner._predict_step.experimental_get_tracing_count() == 1


def test_scores_are_those_of_the_predicted_masks(pairs: Pairs) -> None:
    learner = Learner.new(pairs, params(), 11)
    positions = [7, 2, 9]
    block = pairs.read(positions)
    predicted = learner.network(block.images / np.float32(255), training=False).numpy()
    fits = list(learner.fits(positions))
    for number, (mask, probabilities) in enumerate(zip(block.masks, predicted, strict=True)):
        chosen = probabilities > 0.5
        hit, union = (mask * chosen).sum(), (mask | chosen).sum()
        assert fits[0].mask.true_positive[number] == hit
        assert fits[0].mask.true_positive[number] + fits[0].mask.false_negative[number] == mask.sum()
        assert sum(count[number] for count in fits[0].mask) == SIZE * SIZE
        assert fits[0].soft.true_positive[number] == pytest.approx((mask * probabilities).sum(), rel=1e-4)
        expected = np.floor(max(0, (hit / union - 0.45) * 20)) / 10
        assert learner.score(positions)[number] == expected
    assert 0 < fits[0].mask.true_positive.sum() < block.masks.sum()
    np.testing.assert_array_equal(learner.score(positions), tiered_iou(fits[0].mask))


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
    assert len(learner.state()) == len(learner.network.variables) + len(learner.network.optimizer.variables) + 2
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
