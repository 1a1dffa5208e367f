"""Processes end with the one that started them, whatever the system offers for that."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE

import pytest
import yaml

from stages import audit, generate
from stages.pairs.read import Pairs
from stages.pipeline import paths, workers
from tests.conftest import Change
from tests.project import ROOT

HIDDEN = {
    "nothing": "",
    "ctypes": "import sys; sys.modules['ctypes'] = None",
    "prctl": "import ctypes; ctypes.CDLL = lambda name: object()",
}

STAGE = """
import time
from stages.pipeline.entry import run
def main():
    print("at work", flush=True)
    time.sleep(60)
run("select", main)
"""

STAGE_WITH_WORKERS = """
import gc, os, signal
from stages.pipeline.workers import workers
def work(context, item):
    return item
with workers(2, gc.enable) as found:
    list(found.map(work, range(4)))
    print("at work", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def require_end_of_all(process: "subprocess.Popen[str]") -> None:
    """Wait until a process that was killed and all that it started are gone: each of them holds its output open."""
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    process.kill()
    started = time.monotonic()
    process.communicate(timeout=20)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("shell", "hidden"),
    [("/bin/sh", "nothing"), ("/bin/bash", "nothing"), ("/bin/sh", "ctypes"), ("/bin/sh", "prctl")],
)
def test_under_dvc_a_stage_ends_with_its_parent(tmp_path: Path, shell: str, hidden: str) -> None:
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    command = pipeline["stages"]["select"]["cmd"].replace("python -m stages.select", f"{sys.executable} stage.py")
    assert "stage.py" in command
    (tmp_path / "stage.py").write_text(f"{HIDDEN[hidden]}\n{STAGE}")
    dvc = f"import subprocess; subprocess.Popen([{shell!r}, '-c', {command!r}]).wait()"
    environment = {**os.environ, "DVC_STAGE": "select", "PYTHONPATH": str(ROOT)}
    require_end_of_all(
        subprocess.Popen(
            [sys.executable, "-c", dvc], cwd=tmp_path, env=environment, stdout=PIPE, stderr=DEVNULL, text=True
        )
    )


@pytest.mark.parametrize("hidden", HIDDEN)
def test_worker_processes_end_with_a_stage_that_is_killed(hidden: str) -> None:
    script = f"{HIDDEN[hidden]}\n{STAGE_WITH_WORKERS}"
    require_end_of_all(subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=PIPE, text=True))


@pytest.mark.slow
def test_stages_write_the_same_where_processes_start_anew_as_on_a_mac(
    change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(
        **{
            "dataset.image_size": 32,
            "dataset.train_count": 40,
            "dataset.test_count": 12,
            "dataset.radius_min": 4,
            "dataset.radius_max": 8,
        }
    )
    found = []
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        monkeypatch.setattr(workers, "ProcessPoolExecutor", partial(ProcessPoolExecutor, mp_context=context))
        generate.main("train")
        generate.main("test")
        audit.main()
        found.append((Pairs(paths.POOL).digest, paths.LEAKS.read_bytes()))
        for folder in (".traincore", "data", "metrics"):
            shutil.rmtree(folder)
    assert found[0] == found[1]
