"""Workers, which do a stage's work part by part: processes of this machine, this process itself, or a Dask cluster."""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from stages.pipeline import cluster
from stages.pipeline.errors import UserError
from stages.pipeline.processes import end_with_parent

PARTS_A_WORKER = 4  # under way at once; more would only take memory
Context = TypeVar("Context")
Item = TypeVar("Item")
Result = TypeVar("Result")

_context: Any  # of a worker process


@dataclass(frozen=True)
class Workers(Generic[Context]):
    """Workers that are prepared for some work.

    Attributes
    ----------
    submit : callable
        Takes a function, an item, and values that are shared; gives the future of what the function returns for what a
        worker prepared and for these.
    ahead : int
        Parts that are under way at once.
    share : callable
        Takes a value that many parts need; gives a stand-in for it, which is sent to a worker once.
    """

    submit: "Callable[..., Future[Any]]"
    ahead: int
    share: Callable[[Any], Any] = lambda value: value

    def map(self, function: Callable[[Context, Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results for some items in their order, each as soon as it and all before it are there.

        Parameters
        ----------
        function : callable
            Of a module, since it may be called in other processes: with what the worker prepared, and with an item.
        items : iterable
            Parts of the work; they are taken as they get under way.
        """
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(self.submit(function, item))
                if len(waiting) >= self.ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def workers(count: int | None, prepare: Callable[..., Context], *arguments: Any) -> Iterator[Workers[Context]]:
    """Workers that end with the stage; if ``TRAINCORE_SCHEDULER`` is set, they are those of a cluster.

    Parameters
    ----------
    count : int, optional
        How many processes, without a cluster; if not given, this process does the work, since it has threads for it.
    prepare : callable
        Called once in each before anything else, with the arguments that follow; what it returns is given to each call.

    Raises
    ------
    UserError
        If one of them is killed, or there is no such cluster.
    """
    if cluster.address():
        with cluster.client() as client:
            share = partial(client.submit, itself, pure=False)
            submit = partial(cluster.submit, client, share(cluster.job(prepare, *arguments)))
            yield Workers(submit, max(cluster.PARTS, PARTS_A_WORKER * sum(client.nthreads().values())), share)
    elif count is None:
        yield Workers(partial(_call, prepare(*arguments)), 1)
    else:
        with _processes(count, prepare, arguments) as executor:
            yield Workers(lambda *work: executor.submit(_apply, *work), PARTS_A_WORKER * count)


@contextmanager
def _processes(count: int, prepare: Callable[..., Any], arguments: Sequence[Any]) -> Iterator[ProcessPoolExecutor]:
    try:
        with ProcessPoolExecutor(count, initializer=_start, initargs=(prepare, arguments)) as executor:
            yield executor
    except BrokenProcessPool:
        raise UserError(
            f"a worker process was killed, most often for lack of memory: {count} were at work, "
            "environment variable TRAINCORE_WORKERS=1 needs least"
        ) from None


def itself(value: Context) -> Context:
    """Prepare nothing: give a value as it was made by the stage."""
    return value


def _call(context: Context, function: Callable[[Context, Item], Result], item: Item) -> "Future[Result]":
    """What a function returns, as if another process had called it."""
    future: Future[Result] = Future()
    future.set_result(function(context, item))
    return future


def _start(prepare: Callable[..., Any], arguments: Sequence[Any]) -> None:
    """Have this worker process leave interrupts to the stage, and end with it."""
    global _context
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(signal.SIGKILL)
    _context = prepare(*arguments)


def _apply(function: Callable[[Any, Any], Result], item: Any) -> Result:
    return function(_context, item)
