"""Training on several devices against training on one; they are processors here, since no GPU was there to test on.

The devices add up sums in another order than one device does. That moves a loss by some parts in a million. A step of
Adam divides each gradient by its size, so that it makes more of rounding: weights may differ by a hundredth of a step.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from stages import follow
from stages.datasets.ellipses import Ellipses
from stages.learning.learner import Learner
from stages.learning.machines import machines
from stages.learning.tensorflow import processor, set_up_tensorflow, set_up_training
from stages.pairs.layout import IGNORED, Layout, PixelClass
from stages.pairs.read import Pairs
from stages.pipeline import entry
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import Params, TrainingParams
from tests import tiny
from tests.project import ROOT, environment, network_options, run
from tests.sets import write_set

COUNT, SIZE, BATCH = 11, 16, 10
RATE = 0.003
PIXEL_CLASSES = [PixelClass(name, place, "#000000") for place, name in enumerate(("none", "ellipse", "rectangle"))]
CASES: dict[str, dict[str, Any]] = {
    "bce_dice": {"average": 0.5, "statistics": "estimated", "augmentation": "dihedral"},
    "binary_crossentropy": {},
    "dice": {"average": 0.5},
    "crossentropy_dice": {"statistics": "estimated"},
    "categorical_crossentropy": {},
    "bce_dice in bfloat16": {"precision_policy": "mixed_bfloat16"},
}
SAVED = "dice"  # the case whose network is saved
Results = dict[str, np.ndarray]


def build_of_labels(options: Any, layout: Layout) -> keras.Model:
    """A network of labels that drops 5 values an image, so that parts of a batch begin within a byte of random bits."""
    images = keras.Input(layout.image_shape)
    x = keras.layers.Dense(5, activation="relu")(keras.layers.Flatten()(images))
    x = keras.layers.Dropout(0.3)(x)
    return keras.Model(images, keras.layers.Dense(layout.classes, activation="softmax", dtype="float32")(x))


def pairs_of(loss: str, folder: Path) -> Pairs:
    """Pairs with the targets that a loss is for."""
    path = folder / f"{loss}.zarr"
    if path.exists():
        return Pairs(path)
    classes = PIXEL_CLASSES if loss == "crossentropy_dice" else []
    layout = Layout(COUNT, (SIZE, SIZE, 3), "uint8", 3 if classes else None, "pixels" if classes else "images")
    images, masks = Ellipses(layout, 0, 2, 4, "rectangle", classes).draw(range(COUNT))
    if classes:
        masks[::2, :5] = IGNORED  # no two devices count as many pixels
        return write_set(path, images, masks, pixel_classes=classes)
    if loss == "categorical_crossentropy":
        return write_set(path, images, np.arange(COUNT, dtype=np.uint8)[:, None] % 3, classes=3)
    return write_set(path, images, masks)


def params_of(case: str) -> Params:
    loss = case.split()[0]
    of_labels = loss == "categorical_crossentropy"
    training = {
        "average": 0.0,
        "augmentation": "none",
        "learning_rate": RATE,
        "loss": loss,
        "seed": 3,
        "precision_policy": "float32",
        "statistics": "moving",
        **CASES[case],
    }
    return Params.model_construct(
        score="true_probability" if of_labels else "iou",
        score_background=False,
        network=network_options("cnn" if of_labels else "residual_unet", base_filters=4).model_copy(
            update={"name": "of_labels" if of_labels else "tiny"}
        ),
        training=TrainingParams(**training),
    )


def trained(case: str, folder: Path) -> tuple[Learner, Results]:
    """A learner after steps on 10, 1, 5 and 3 pairs, and all that came of them."""
    learner = Learner.new(pairs_of(case.split()[0], folder), params_of(case), BATCH)
    epochs = [learner.fit_epoch(range(COUNT)), learner.fit_step(range(5), 0.5), learner.fit_step([7, 2, 9])]
    found = {"losses": np.array([epoch.loss for epoch in epochs]), "scores": np.array([e.score for e in epochs])}
    found["closeness"] = learner.verify(range(COUNT)).closeness
    variables = [*learner.trained.variables, *learner.network.trainable_variables]  # the second ones are averages
    found |= {f"variable {n}": np.asarray(variable) for n, variable in enumerate(variables)}
    return learner, found


def add_networks() -> None:
    """Networks more to choose."""
    sys.modules["stages.networks.tiny"] = tiny
    sys.modules["stages.networks.of_labels"] = SimpleNamespace(build=build_of_labels)  # type: ignore[assignment]


def write_all(folder: Path, count: int) -> None:
    """Train all cases on logical processors; called in a process of its own."""
    add_networks()
    logical_processors(count)
    for case in CASES:
        learner, found = trained(case, folder)
        np.savez(folder / f"{case}.npz", **found)  # type: ignore[arg-type]
        if case == SAVED:
            learner.save(folder / "saved.keras")
            np.save(folder / "predicted.npy", learner.predict(range(COUNT)))
    print(processor())


def logical_processors(count: int) -> None:
    """Have TensorFlow see several processors, before it sees any."""
    import tensorflow as tf

    set_up_tensorflow()
    (only,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(only, [tf.config.LogicalDeviceConfiguration()] * count)


def write_one(folder: Path, case: str) -> None:
    """Train a case together with other machines; called in a process of its own."""
    add_networks()
    set_up_training()
    np.savez(folder / "machines.npz", **trained(case, folder)[1])  # type: ignore[arg-type]
    print(processor())


@pytest.fixture(autouse=True, scope="module")
def networks() -> Iterator[None]:
    """The networks more, for this file alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "stages.networks.tiny", tiny)
        patch.setitem(sys.modules, "stages.networks.of_labels", SimpleNamespace(build=build_of_labels))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What came of training on two devices."""
    made = tmp_path_factory.mktemp("devices")
    for case in CASES:
        pairs_of(case.split()[0], made)
    printed = call(f"write_all(Path({str(made)!r}), 2)")
    assert printed.startswith("2 × ")
    return made


def call(code: str) -> str:
    """What some code of this file prints in a process of its own."""
    result = run(ROOT, sys.executable, "-c", f"from tests.test_devices import *; {code}")
    assert result.returncode == 0, result.stderr
    return result.stdout


def of_machine(index: int, ports: Sequence[int]) -> str:
    """TF_CONFIG of a machine; all are this one."""
    names = [f"localhost:{port}" for port in ports]
    return json.dumps({"cluster": {"worker": names}, "task": {"type": "worker", "index": index}})


@contextmanager
def followed(folder: Path, code: Path = ROOT) -> Iterator[tuple[list[int], subprocess.Popen[str]]]:
    """Two free ports, and a process that follows whoever uses the first of them; it stands in an empty folder."""
    with socket.create_server(("localhost", 0)) as one, socket.create_server(("localhost", 0)) as other:
        ports = [each.getsockname()[1] for each in (one, other)]
    variables = environment(TF_CONFIG=of_machine(1, ports), PYTHONPATH=str(code), PYTHONDONTWRITEBYTECODE="1")
    command = [sys.executable, "-m", "stages.follow"]
    process = subprocess.Popen(command, cwd=folder, env=variables, stderr=subprocess.PIPE, text=True)
    try:
        yield ports, process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def started(code: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs some code of this file."""
    command = [sys.executable, "-c", f"from tests.test_devices import *; {code}"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, env=environment(**variables), stdout=pipe, stderr=pipe, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def train_for_ever(folder: Path) -> None:
    """Train until another machine is gone; called in a process of its own."""
    add_networks()
    set_up_training()

    def main() -> None:
        learner, _ = trained(SAVED, folder)
        print("at work", flush=True)
        while True:
            learner.fit_step(range(5))

    entry.run("stage", main)


def read(path: Path) -> Results:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def assert_as_one(several: Results, one: Results, bfloat16: bool = False) -> None:
    """Compare what several devices made with what one did."""
    # In bfloat16 one device normalises batches in bfloat16, and several in float32, as they have no kernel for it.
    parts = 1e-2 if bfloat16 else 1e-5
    np.testing.assert_allclose(several["losses"], one["losses"], rtol=parts)
    assert several.keys() == one.keys()
    for name in one.keys() - {"losses"}:
        tolerance = 100 * parts if name in ("scores", "closeness") else RATE * (1 if bfloat16 else 0.02)
        np.testing.assert_allclose(several[name], one[name], rtol=parts * 10, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_two_devices_come_to_the_losses_weights_and_scores_of_one(folder: Path, case: str) -> None:
    _, one = trained(case, folder)
    assert_as_one(read(folder / f"{case}.npz"), one, "bfloat16" in case)


def test_a_network_of_several_devices_is_saved_as_any_other(folder: Path) -> None:
    predicted = np.load(folder / "predicted.npy")
    pairs = pairs_of(SAVED, folder)
    plain = keras.saving.load_model(folder / "saved.keras")
    np.testing.assert_allclose(plain(pairs.read(range(COUNT)).images / 255.0), predicted, atol=1e-5)
    assert predicted.shape == (COUNT, SIZE, SIZE, 1)
    on_one = Learner.load(folder / "saved.keras", pairs, params_of(SAVED), BATCH)
    assert on_one.fit_step(range(4)).loss > 0


def test_two_machines_come_to_the_bits_of_one_with_two_devices(folder: Path, tmp_path: Path) -> None:
    with followed(tmp_path) as (ports, follower):
        code = f"write_one(Path({str(folder)!r}), {SAVED!r})"
        first = run(
            ROOT, sys.executable, "-c", f"from tests.test_devices import *; {code}", TF_CONFIG=of_machine(0, ports)
        )
        assert first.returncode == 0, first.stderr
        assert first.stdout.startswith("2 × ")
        assert follower.wait(60) == 0
    assert list(tmp_path.iterdir()) == []
    several, as_many = read(folder / "machines.npz"), read(folder / f"{SAVED}.npz")
    for name in as_many:
        np.testing.assert_array_equal(several[name], as_many[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["first", "follower"])
def test_a_lost_machine_ends_the_others_with_one_line(folder: Path, tmp_path: Path, lost: str) -> None:
    code = f"train_for_ever(Path({str(folder)!r}))"
    with followed(tmp_path) as (ports, follower), started(code, TF_CONFIG=of_machine(0, ports)) as first:
        assert first.stdout is not None
        first.stdout.readline()  # it trains
        gone, other = (first, follower) if lost == "first" else (follower, first)
        gone.kill()
        _, said = other.communicate(timeout=120)
        assert other.returncode == 1
        assert "a machine that TF_CONFIG names is gone" in said.splitlines()[-1]


@pytest.mark.slow
def test_a_stage_trains_on_two_machines_and_says_so(project: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with followed(empty, project) as (ports, follower):
        result = run(project, sys.executable, "-m", "stages.train_seed", TF_CONFIG=of_machine(0, ports))
        assert result.returncode == 0, result.stderr
        assert follower.wait(60) == 0
    assert json.loads((project / "models/seed.json").read_text())["processor"].startswith("2 × ")


def test_parts_of_a_batch_make_the_whole_on_any_number_of_devices() -> None:
    call("logical_processors(3); parts_make_the_whole()")


def parts_make_the_whole() -> None:
    """Split and join batches of 1 to 7 pairs on three devices; called in a process of its own."""
    import tensorflow as tf

    from stages.networks.shared.parts import Part, from_first

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1", "CPU:2"])

    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32)], autograph=False)  # type: ignore[untyped-decorator]
    def joined(batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
        part = Part(tf.shape(batch)[0])

        def on_device(batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
            own = part.take(batch)
            with tf.GradientTape() as tape:
                tape.watch(own)
                whole = part.join(own)
                loss = tf.reduce_sum(whole**3)
            counted = part.counted(own)
            gradient = part.total(tf.reduce_sum(tape.gradient(loss, own), axis=0))
            place = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int64)
            return whole, part.total(tf.reduce_sum(own * counted, axis=0)), gradient, *from_first(2**40 + place)

        results = strategy.run(on_device, (batch,))
        return tuple(each for result in results for each in strategy.experimental_local_results(result))

    for pairs in range(1, 8):
        batch = np.random.default_rng(pairs).normal(size=(pairs, 2)).astype(np.float32)
        results = [each.numpy() for each in joined(batch)]
        for whole, total, gradient, number in (results[place::3] for place in range(3)):
            np.testing.assert_array_equal(whole, batch)
            np.testing.assert_allclose(total, batch.sum(axis=0), rtol=1e-5)
            np.testing.assert_allclose(gradient, (3 * batch**2).sum(axis=0), rtol=1e-5)
            assert number == 2**40


def test_batch_normalisation_that_devices_cannot_share_is_refused() -> None:
    call("logical_processors(2); refuse()")


def refuse() -> None:
    """Spread a network that Keras itself normalises; called in a process of its own."""
    from stages.learning.devices import devices

    network = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.BatchNormalization(scale=False, name="odd")])
    network.compile(optimizer="adam")
    together = devices()
    assert together
    with pytest.raises(UserError, match=r"its layer odd normalises .* CUDA_VISIBLE_DEVICES=0"):
        together.spread(network, {})


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": -1}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": "1"}}',
        '{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"ps": ["a:1", "b:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_machines_that_cannot_be_understood_are_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=r"environment variable TF_CONFIG is .*allowed is \{\"cluster\""):
        machines()


def test_a_stage_does_not_run_on_a_machine_that_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", of_machine(1, [1, 2]))
    with pytest.raises(UserError, match=r"this is machine 1, .*`python -m stages\.follow`"):
        set_up_training()


def test_nobody_follows_without_a_machine_to_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    for config in ("", of_machine(0, [1, 2])):
        monkeypatch.setenv("TF_CONFIG", config)
        with pytest.raises(UserError, match="TF_CONFIG has to name several machines"):
            follow.main()
