"""The live line of a long stage: a bar on a terminal, a line now and then in a log."""

import sys
import time
from multiprocessing import active_children
from types import TracebackType
from typing import Self

from tqdm import tqdm

from stages.pipeline.machine import peak_memory

LOG_SECONDS = 30
LOOK_SECONDS, LOOK_AMOUNT = 10.0, 100  # of the work from which a forecast is made, at the least
LONG_MINUTES = 2.0  # what takes less is not forecast
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
    disk : float, optional
        Bytes that the work writes in all, for the forecast of long work; None where units take unequal time, so that
        there is none.
    """

    def __init__(self, title: str, total: int, unit: str, disk: float | None = 0.0) -> None:
        self._warned: set[str] = set()
        self._disk = disk
        self._looked: tuple[float, float] | None = None  # when the forecast began to look, and how much was done then
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
        if self._disk is not None:
            self._forecast(self._disk)

    def _forecast(self, disk: float) -> None:
        """Print once what long work will take, from its rate after the first result, which waits for processes."""
        now, done = time.monotonic(), self._bar.n
        if self._looked is None:
            self._looked = now, done
        since, before = self._looked
        if now - since < LOOK_SECONDS or done - before < LOOK_AMOUNT:
            return
        self._disk = None
        minutes = ((self._bar.total or 0) - done) * (now - since) / (done - before) / 60
        if minutes < LONG_MINUTES:
            return
        workers = [process.pid for process in active_children() if process.pid]
        held = max(peak_memory(worker) for worker in workers) if workers else peak_memory()
        parts = [f"about {minutes:.{1 if minutes < 10 else 0}f} min to go"]
        if disk:
            parts.append(f"{disk / 1e6:,.0f} MB of disk in all")
        if held:
            parts.append(
                f"{held / 1e6:,.0f} MB of memory" + (f" in each of {len(workers)} processes" if workers else "")
            )
        self._bar.write(f"{self._bar.desc}: {', '.join(parts)}", file=sys.stderr)

    def turn_to(self, total: int, unit: str) -> None:
        """Go on with counting something else, from its start."""
        if unit != self._bar.unit:
            self._bar.unit = unit
            self._bar.initial = 0
            self._bar.reset(total)
            self._looked = None

    def go_on(self, done: int) -> None:
        """Start from what an interrupted run had done, which does not count for the rate."""
        self._bar.write(f"{self._bar.desc}: goes on from {done} of {self._bar.total}", file=sys.stderr)
        self._bar.initial = self._bar.n = self._bar.last_print_n = done

    def warn(self, line: str) -> None:
        """Print a line without spoiling the bar; the same line once only."""
        if line not in self._warned:
            self._warned.add(line)
            self._bar.write(f"warning: {line}", file=sys.stderr)
