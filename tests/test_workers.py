"""Workers: the same results from processes and from this one, a few parts at a time, and what a killed one leads to."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.pipeline.errors import UserError
from stages.pipeline.workers import PARTS_A_WORKER, workers


def hold(*numbers: int) -> list[int]:
    return list(numbers)


def add(context: list[int], item: int) -> int:
    return sum(context) + item


def count_calls(context: list[int], _: int) -> tuple[int, int]:
    context.append(0)
    return os.getpid(), len(context)


def end(_: list[int], status: int) -> None:
    os._exit(status)


def refuse(_: list[int], item: int) -> None:
    raise UserError(f"item {item}")


def interrupts(_: list[int], number: signal.Signals) -> bool:
    return signal.getsignal(number) == signal.SIG_IGN


@pytest.mark.parametrize("count", [None, 1, 2])
def test_results_are_in_the_order_of_the_items(count: int | None) -> None:
    with workers(count, hold, 1, 2) as found:
        assert list(found.map(add, range(30))) == list(range(3, 33))
        assert list(found.map(add, [])) == []


def test_a_worker_prepares_once() -> None:
    with workers(2, hold, 1) as found:
        calls = sorted(found.map(count_calls, range(6)))
    by_process = {process: [count for other, count in calls if other == process] for process, _ in calls}
    assert all(counts == list(range(2, len(counts) + 2)) for counts in by_process.values())


def test_items_are_taken_as_results_are(tmp_path: Path) -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    with workers(1, hold, 0) as found:
        results = found.map(add, items())
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        assert len(taken) <= 3 + PARTS_A_WORKER


def test_a_fault_in_a_worker_is_that_of_the_stage() -> None:
    with pytest.raises(UserError, match=r"^item 3$"), workers(1, hold, 0) as found:
        list(found.map(refuse, [3]))


def test_a_worker_process_that_is_killed_ends_the_stage_in_a_line() -> None:
    with (
        pytest.raises(UserError, match=r"killed, .*: 2 were at work, .*TRAINCORE_WORKERS=1 needs least$"),
        workers(2, hold, 0) as found,
    ):
        list(found.map(end, [9]))


def test_worker_processes_leave_an_interrupt_to_the_stage() -> None:
    with workers(1, hold, 0) as found:
        assert list(found.map(interrupts, [signal.SIGINT, signal.SIGTERM])) == [True, False]
