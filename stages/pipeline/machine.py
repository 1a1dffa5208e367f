"""The machine: its cores and processor, and what the environment says of their use."""

import os
import re
from pathlib import Path

from stages.pipeline.errors import UserError

CPUINFO = Path("/proc/cpuinfo")
THREADS = "TRAINCORE_THREADS"  # of TensorFlow
PEAK = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)


def cores() -> int:
    """Cores that this process may use; where the system knows no such limit, all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


def cpuinfo(key: str) -> str:
    """A line of Linux' description of the processor, as ``flags``; empty on other systems."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key), "")


def peak_memory(process: int | str = "self") -> int:
    """Most bytes of memory that a process has held at a time; 0 where the system does not tell, as only Linux does."""
    try:
        found = PEAK.search(Path(f"/proc/{process}/status").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return 1024 * int(found[1]) if found else 0
