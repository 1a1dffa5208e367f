"""The machine: what it computes in, with how many threads, and its name for the metrics."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.errors import UserError

BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}
BFLOAT16_COMPUTE_CAPABILITY = (8, 0)  # NVIDIA Ampere


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def count_from_environment(name: str) -> int:
    """A number of workers or threads from an environment variable; all cores if it is not set.

    Raises
    ------
    UserError
        If it is not a whole number of at least 1.
    """
    text = os.environ.get(name, str(cores()))
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"environment variable {name} is {text!r}, allowed is a whole number of at least 1")
    return int(text)


def open_cv() -> Any:
    """OpenCV, without threads of its own, since those of the worker processes are enough."""
    import cv2

    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what it says is an error's one line already
    return cv2


def seconds_from_environment(name: str, default: float) -> float:
    """A time from an environment variable.

    Raises
    ------
    UserError
        If it is not a number of at least 0.
    """
    text = os.environ.get(name, str(default))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:  # NaN, too
        raise UserError(f"environment variable {name} is {text!r}, allowed is a number of seconds of at least 0")
    return seconds


def free_bytes(path: Path) -> int:
    """Bytes that are free on the disk of a file or folder, which need not be there yet."""
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def require_space(path: Path, needed: float) -> None:
    """Check that the disk has room before any work is done.

    Parameters
    ----------
    path : Path
        What is to be written.
    needed : float
        Bytes that it takes.

    Raises
    ------
    UserError
        If fewer are free.
    """
    free = free_bytes(path)
    if free < needed:
        raise UserError(
            f"{path}: {_megabytes(needed)} are needed on its disk, {_megabytes(free)} are free; make room and run "
            "the same command again"
        )


def cannot_write(error: OSError | str, needed: float | None, *paths: Path) -> UserError:
    """The line for outputs that could not be written, on a full disk for one.

    Parameters
    ----------
    error : OSError or str
        Why.
    needed : float, optional
        Bytes that they take, where that is known.
    *paths : Path
        What was being written.
    """
    names, reason = ", ".join(map(str, paths)), getattr(error, "strerror", None) or error
    takes = "" if needed is None else f"it takes {_megabytes(needed)}, "
    free = _megabytes(free_bytes(paths[0]))
    return UserError(
        f"{names}: cannot be written: {reason}; {takes}{free} are free; once there is room, the same command goes on "
        "from the last checkpoint"
    )


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"


def set_up_tensorflow() -> int:
    """Give TensorFlow its threads (``TRAINCORE_THREADS``) and its fast kernels; before it is imported elsewhere.

    Returns
    -------
    int
        The number of threads.
    """
    threads = count_from_environment("TRAINCORE_THREADS")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow itself uses oneDNN only where the processor has instructions for neural networks (AVX512-VNNI and the
    # like). With AVX2 alone a training step of 50 pairs of 64×64 with 8 filters took 2.4 times as long without it.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with _start_up_notes_hidden():
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(min(2, threads))  # the two gradients of a layer at once
    tf.config.experimental.enable_op_determinism()  # costs nothing that can be measured on a processor
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    return threads


@contextmanager
def _start_up_notes_hidden() -> Iterator[None]:
    """Keep off the terminal what TensorFlow says of itself before its log level holds; show it if it fails."""
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


def precision_policy(wanted: str) -> str:
    """What to compute in.

    Parameters
    ----------
    wanted : {"auto", "float32", "mixed_bfloat16"}
        "auto" is bfloat16 where the GPU, or else the processor, has it natively.

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
        native = bool(BFLOAT16_FLAGS & set(_cpuinfo("flags").split()))
    return "mixed_bfloat16" if native else "float32"


def processor() -> str:
    """The processor's name, or the GPU's where there is one."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
    return _cpuinfo("model name") or platform.machine()


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key), "")
