"""The live line of a long stage: a bar on a terminal, a line now and then in a log."""

import sys
from types import TracebackType
from typing import Self

from tqdm import tqdm

LOG_SECONDS = 30
tqdm.monitor_interval = 0  # no thread of its own: stages fork workers
BAR = "{desc}: {n_fmt}/{total_fmt} {unit} [{elapsed}<{remaining}, {rate_fmt}]{postfix}"


class _Lines:
    """A file for tqdm that gets whole lines instead of one that is overwritten."""

    def write(self, text: str) -> None:
        if line := text.strip("\r\n "):
            print(line, file=sys.stderr, flush=True)

    def flush(self) -> None:
        pass


class Progress:
    """Shows how much is done, how fast, and the figures that go with it.

    Parameters
    ----------
    title : str
        Name of the work.
    total : int
        Amount of work.
    unit : str
        Unit of the amount, as ``pair``.
    """

    def __init__(self, title: str, total: int, unit: str) -> None:
        self._warned: set[str] = set()
        live = sys.stderr.isatty()
        self._bar = tqdm(
            desc=title,
            total=total,
            unit=unit,
            mininterval=0.2 if live else LOG_SECONDS,
            miniters=0,
            file=sys.stderr if live else _Lines(),
            bar_format=None if live else BAR,
            dynamic_ncols=live,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def show(self, done: int, **figures: float | None) -> None:
        """Set how much is done in all, and the figures beside it."""
        self._bar.set_postfix(figures, refresh=False)
        self._bar.update(done - self._bar.n)

    def turn_to(self, total: int, unit: str) -> None:
        """Go on with counting something else, from its start."""
        if unit != self._bar.unit:
            self._bar.unit = unit
            self._bar.initial = 0
            self._bar.reset(total)

    def go_on(self, done: int) -> None:
        """Start from what an interrupted run had done, which does not count for the rate."""
        self._bar.write(f"{self._bar.desc}: goes on from {done} of {self._bar.total}", file=sys.stderr)
        self._bar.initial = self._bar.n = self._bar.last_print_n = done

    def warn(self, line: str) -> None:
        """Print a line without spoiling the bar; the same line once only."""
        if line not in self._warned:
            self._warned.add(line)
            self._bar.write(f"warning: {line}", file=sys.stderr)
