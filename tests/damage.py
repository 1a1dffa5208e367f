"""The one line that a reader of a damaged file has to end in."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

from stages.pipeline.errors import UserError

# A working folder outlives an example: each example writes the one file that it is about anew.
examples = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def line_of(call: Callable[[], Any]) -> str | None:
    """The line that a call ends in, if it does not work."""
    try:
        call()
    except UserError as error:
        line = str(error)
    else:
        return None
    assert len(line.splitlines()) == 1
    assert len(line) < 600
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in line)
    return line


def refused(call: Callable[[], Any]) -> str:
    """The line that a call has to end in."""
    line = line_of(call)
    assert line is not None
    return line
