"""How a stage or command starts and ends: one line for what a person has to change."""

import os
import signal
import sys
import traceback
from collections.abc import Callable

from stages.pipeline.errors import StoreError, UserError

DEBUG = "TRAINCORE_DEBUG"


def run(stage: str, main: Callable[[], None]) -> None:
    """Run a stage; end the process with 1 and one line if a person has to change something, 130 if interrupted.

    With ``TRAINCORE_DEBUG=1`` in the environment, the traceback stands above that line, and those of the errors that
    led to it. An error that the project does not expect keeps its traceback always.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever a person uses elsewhere
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        main()
    except (UserError, StoreError, OSError, MemoryError) as error:
        if os.environ.get(DEBUG) == "1":
            _print_traceback(error)
        sys.exit(f"{stage}: {_line(error)}{_what_dvc_removed()}")
    except KeyboardInterrupt:
        print(
            f"{stage}: interrupted; the same command goes on from the last checkpoint, if there is one", file=sys.stderr
        )
        sys.exit(130)


def _interrupt(*_: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # a second one would disturb the clean-up
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _line(error: BaseException) -> str:
    match error:
        case OSError():
            return f"{error.filename or 'a file'}: {error.strerror or error}"
        case MemoryError():
            return "not enough memory; smaller batches or images need less"
        case _:
            return str(error)


def _print_traceback(error: BaseException) -> None:
    """Print the traceback of an error and of all that led to it, also where one was raised ``from None``."""
    earlier: BaseException | None = error
    while earlier:
        earlier.__suppress_context__ = False
        earlier = earlier.__context__
    traceback.print_exception(error)


def _what_dvc_removed() -> str:
    """The way back to the outputs of a stage, which DVC deletes before it starts it."""
    if "DVC_STAGE" not in os.environ:
        return ""
    return "; outputs of an earlier run, which DVC removed: `dvc checkout`, and `git checkout metrics` if committed"
