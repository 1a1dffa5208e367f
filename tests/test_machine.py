"""The machine, as the system describes it and as the environment limits its use."""

import os
import resource
from pathlib import Path

import pytest

from stages.pipeline import machine
from stages.pipeline.errors import UserError
from stages.pipeline.machine import cores, count_from_environment, cpuinfo, peak_memory


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", ""])
def test_a_bad_number_of_threads_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINCORE_THREADS", text)
    with pytest.raises(UserError, match="TRAINCORE_THREADS") as caught:
        count_from_environment("TRAINCORE_THREADS")
    assert repr(text) in str(caught.value)


def test_all_cores_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAINCORE_WORKERS", raising=False)
    assert count_from_environment("TRAINCORE_WORKERS") == cores() >= 1


def test_the_cores_that_a_process_may_use_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 4, 5}, raising=False)
    assert cores() == 3


@pytest.mark.parametrize(("found", "counted"), [(8, 8), (None, 1)])
def test_where_the_system_sets_no_limit_all_cores_count(
    found: int | None, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: found)
    assert cores() == counted


def test_the_processor_is_described_by_linux_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    description = tmp_path / "cpuinfo"
    monkeypatch.setattr(machine, "CPUINFO", description)
    assert cpuinfo("flags") == ""
    description.write_text("processor\t: 0\nmodel name\t: Some: CPU\nflags\t\t: fpu avx2\n\nflags\t\t: other\n")
    assert cpuinfo("flags") == "fpu avx2"
    assert cpuinfo("model name") == "Some: CPU"
    assert cpuinfo("bugs") == ""


def test_the_peak_of_memory_is_that_of_the_system_and_nothing_where_it_does_not_tell() -> None:
    assert peak_memory() == pytest.approx(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, rel=0.2)
    assert peak_memory("none") == 0
