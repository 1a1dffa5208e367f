"""TensorFlow: its threads, its kernels, its precision."""

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from stages.learning.machines import machines
from stages.pipeline.errors import UserError
from stages.pipeline.machine import THREADS, count_from_environment, cpuinfo

BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}
BFLOAT16_COMPUTE_CAPABILITY = (8, 0)  # NVIDIA Ampere


def set_up_tensorflow() -> int:
    """Give TensorFlow its threads (``TRAINCORE_THREADS``) and its fast kernels; before it is imported elsewhere.

    Returns
    -------
    int
        The number of threads.

    Raises
    ------
    UserError
        If it has another number already: a worker of a cluster works for several stages.
    """
    threads = count_from_environment(THREADS)
    _set_up(threads)
    return threads


@cache
def _set_up(threads: int) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow itself uses oneDNN only where the processor has instructions for neural networks (AVX512-VNNI and the
    # like). With AVX2 alone a training step of 50 pairs of 64×64 with 8 filters took 2.4 times as long without it.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with _start_up_notes_hidden(), _without("sklearn"):
        import keras
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
    # What a person's own keras.json sets is not meant for these networks.
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:
        found = tf.config.threading.get_intra_op_parallelism_threads()
        raise UserError(f"{THREADS} is {threads}, and TensorFlow has {found} threads in this process already") from None
    tf.config.threading.set_inter_op_parallelism_threads(min(2, threads))  # the two gradients of a layer at once
    tf.config.experimental.enable_op_determinism()  # costs nothing that can be measured on a processor
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)


@contextmanager
def _start_up_notes_hidden() -> Iterator[None]:
    """Keep TensorFlow's notes off the terminal until its log level holds; show them if it fails."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except BaseException:
            notes.seek(0)
            os.write(terminal, notes.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


@contextmanager
def _without(package: str) -> Iterator[None]:
    """Hide a package that Keras wraps where it finds it: to import scikit-learn takes a fifth of a stage's start."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


def precision_policy(wanted: str) -> str:
    """Choose the precision to compute in.

    Parameters
    ----------
    wanted : {"auto", "float32", "mixed_bfloat16"}
        The parameter; "auto" is bfloat16 where the GPU, or else the processor, has it natively.

    Returns
    -------
    {"float32", "mixed_bfloat16"}
    """
    if wanted != "auto":
        return wanted
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        native = capability >= BFLOAT16_COMPUTE_CAPABILITY
    else:
        native = bool(BFLOAT16_FLAGS & set(cpuinfo("flags").split()))
    return "mixed_bfloat16" if native else "float32"


def processor() -> str:
    """The processor's name, or the GPU's where there is one, after their number where there are several."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        name = str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
    else:
        name = cpuinfo("model name") or platform.processor() or platform.machine()
    found = gpus or tf.config.list_physical_devices("CPU")
    here = sum(len(tf.config.get_logical_device_configuration(each) or [None]) for each in found)
    count = len(machines().names) * here
    return f"{count} × {name}" if count > 1 else name


def set_up_training() -> int:
    """Set up TensorFlow for a stage that trains, and wait for the machines that train with this one.

    Returns
    -------
    int
        The number of threads.

    Raises
    ------
    UserError
        If this is not the first of several machines.
    """
    if machines().index:
        raise UserError(
            f"TF_CONFIG says that this is machine {machines().index}, and stages run on machine 0; "
            "here `python -m stages.follow` takes part in its training"
        )
    threads = set_up_tensorflow()
    from stages.learning.devices import devices

    devices()
    return threads
