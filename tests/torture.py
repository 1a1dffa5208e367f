"""Kill the real pipeline at random moments, run the same command again, compare: `python -m tests.torture [ROUNDS]`.

Every round starts from nothing, is killed one to three times, by one of several ways, and then left to finish.
What it leaves has to be, byte for byte, what a run leaves that nobody disturbed; in metrics all but the seconds.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.project import CERTIFIED, SMALL, environment, make_small_project, merged, metrics, run

# The default network: a tiny one would be killed in little but its imports.
NETWORK = {"name": "residual_unet", "base_filters": 4}
CHANGES = merged(
    SMALL,
    {
        "network": NETWORK,
        "select": {"first_failure": {"max_epochs": 3}, "pick_to_learn": {"max_steps": 3}},
        "judge": {"folds": 2},
    },
)
COMMANDS = (["dvc", "repro"], ["dvc", "exp", "run"])
SHELLS = ("/bin/sh", "/bin/bash")
ORPHAN_SECONDS = 10.0

Kill = Callable[[subprocess.Popen[bytes], Path], None]


def main(rounds: int, seed: int) -> int:
    """Do it and print a line a round; returns how many rounds ended otherwise than the undisturbed run."""
    random_stream = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        pristine = make_small_project(Path(folder) / "pristine", CHANGES)
        references: dict[str, tuple[dict[str, Any], float]] = {}
        failures = 0
        for number in range(1, rounds + 1):
            name = "article" if number % 4 == 0 else "default"
            options = CERTIFIED["first_failure"] if name == "article" else []
            command = ["dvc", "exp", "run", *options] if options else random_stream.choice(COMMANDS)
            if name not in references:
                references[name] = _undisturbed(pristine, Path(folder) / name, options)
            expected, seconds = references[name]
            project = Path(folder) / "round"
            kills, end = _disturb(pristine, project, command, random_stream, seconds)
            while not kills:
                shutil.rmtree(project)
                seconds *= 0.8
                kills, end = _disturb(pristine, project, command, random_stream, seconds)
            output = _finish(project, command)
            different = _difference(_results(project), expected)
            left = sorted(path.name for path in (project / ".traincore").glob("checkpoints/*/*/"))
            resumed = output.count("goes on from")
            verdict = f"DIFFERENT: {different}" if different else "identical"
            print(
                f"round {number}: {' '.join(command)}: {'; '.join([*kills, *end])}; last run resumed {resumed} stages, "
                f"{len(left)} checkpoints left: {verdict}",
                flush=True,
            )
            failures += bool(different or left)
            shutil.rmtree(project)
    print(f"{rounds - failures} of {rounds} identical")
    return failures


def _undisturbed(pristine: Path, project: Path, options: list[str]) -> tuple[dict[str, Any], float]:
    """What a run leaves that nobody disturbed, and how many seconds it takes."""
    shutil.copytree(pristine, project, symlinks=True)
    started = time.monotonic()
    _finish(project, ["dvc", "exp", "run", *options])
    seconds = time.monotonic() - started
    _require_true_certificate(project)
    print(f"undisturbed, {project.name}: {seconds:.0f} s", flush=True)
    return _results(project), seconds


def _require_true_certificate(project: Path) -> None:
    """Stage `evaluate` has to count no failure where `select` certified that there is none."""
    select, evaluate = metrics(project, "select"), metrics(project, "evaluate")
    failures = evaluate["rejected"].get("below_bar", 0)
    print(f"passes {select['passes']}, certified {select['certified']}, pairs below the bar {failures}", flush=True)
    if select["certified"] and failures:
        raise SystemExit("the certificate is false")


def _disturb(
    pristine: Path, project: Path, command: list[str], random_stream: random.Random, seconds: float
) -> tuple[list[str], list[str]]:
    """Start the command in a copy of the project and kill it, one to three times: the kills, and how it ended."""
    shutil.copytree(pristine, project, symlinks=True)
    kills: list[str] = []
    for _ in range(random_stream.randint(1, 3)):
        name, kill = random_stream.choice(list(KILLS.items()))
        moment = random_stream.uniform(1, seconds)
        process = _start(project, command, random_stream.choice(SHELLS))
        try:
            process.wait(moment)
            return kills, [f"then done before {moment:.1f} s"]
        except subprocess.TimeoutExpired:
            stage = _stage_under_way(project)
            kill(process, project)
            kills.append(f"{name} at {moment:.1f} s in {stage}")
            process.wait()
            _require_no_orphans(project)
    return kills, []


def _start(project: Path, command: list[str], shell: str) -> subprocess.Popen[bytes]:
    variables = environment(TRAINCORE_CHECKPOINT_SECONDS="0.5", SHELL=shell)
    with (project / ".dvc" / "tmp-output").open("ab") as output:
        return subprocess.Popen(
            command, cwd=project, env=variables, stdout=output, stderr=output, start_new_session=True
        )


def _finish(project: Path, command: list[str]) -> str:
    """Run the command to its end, after the remedy that README names if a kill cut DVC's lock file; what it printed."""
    result = run(project, *command)
    lock = project / "dvc.lock"
    if result.returncode != 0 and lock.exists() and _is_cut(lock, result.stderr):
        print("a kill cut dvc.lock, which DVC writes in place", flush=True)
        if run(project, "git", "checkout", "dvc.lock").returncode != 0:
            lock.unlink()
        result = run(project, *command)
    if result.returncode != 0:
        print(result.stdout[-2000:], result.stderr[-4000:], (project / ".dvc" / "tmp-output").read_text()[-3000:])
        raise SystemExit(f"{' '.join(command)} failed after it was disturbed")
    return result.stdout + result.stderr


def _is_cut(lock: Path, error: str) -> bool:
    return not lock.read_bytes().endswith(b"\n") or "'./dvc.lock'" in error


def _processes(project: Path) -> Iterator[tuple[int, list[str]]]:
    """Processes at work in the project: number and command line."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has ended, or belongs to somebody else
            alive = process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid()
            if alive and Path(process.cwd()).is_relative_to(project.resolve()):
                yield process.pid, process.cmdline()


def _stages(project: Path) -> list[tuple[int, str]]:
    return [
        (process, word)
        for process, words in _processes(project)
        for word in words
        if word.startswith("stages.") and "-m" in words
    ]


def _stage_under_way(project: Path) -> str:
    return next((name for _, name in _stages(project)), "dvc")


def _require_no_orphans(project: Path) -> None:
    deadline = time.monotonic() + ORPHAN_SECONDS
    while found := list(_processes(project)):
        if time.monotonic() > deadline:
            raise SystemExit(f"still at work after its dvc ended: {found}")
        time.sleep(0.05)


def _signal_all(number: signal.Signals) -> Kill:
    return lambda process, project: os.killpg(process.pid, number)


def _signal_dvc(number: signal.Signals) -> Kill:
    return lambda process, project: process.send_signal(number)


def _signal_stage(number: signal.Signals) -> Kill:
    def kill(process: subprocess.Popen[bytes], project: Path) -> None:
        for stage, _ in _stages(project)[:1] or [(process.pid, "")]:
            os.kill(stage, number)

    return kill


def _kill_in_lock_file(process: subprocess.Popen[bytes], project: Path) -> None:
    """Kill when DVC next begins to write its lock file, in place and for some 50 ms; not at all if it never does."""
    before = _last_modified(project / "dvc.lock")
    while process.poll() is None and _last_modified(project / "dvc.lock") == before:
        time.sleep(0.001)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _last_modified(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


KILLS: dict[str, Kill] = {
    "Ctrl-C": _signal_all(signal.SIGINT),
    "SIGTERM to all": _signal_all(signal.SIGTERM),
    "SIGKILL to all": _signal_all(signal.SIGKILL),
    "SIGTERM to dvc": _signal_dvc(signal.SIGTERM),
    "SIGKILL to dvc": _signal_dvc(signal.SIGKILL),
    "SIGINT to the stage": _signal_stage(signal.SIGINT),
    "SIGTERM to the stage": _signal_stage(signal.SIGTERM),
    "SIGKILL to the stage": _signal_stage(signal.SIGKILL),
    "SIGKILL as dvc.lock is written": _kill_in_lock_file,
}


def _results(project: Path) -> dict[str, Any]:
    """What a run left: a digest of each output, and the metrics; without what tells the time, as the report does."""
    results: dict[str, Any] = {}
    for stage, entry in yaml.safe_load((project / "dvc.lock").read_text())["stages"].items():
        for out in entry["outs"]:
            if not (out["path"].startswith("metrics/") and out["path"].endswith((".json", ".html"))):
                results[f"{stage} {out['path']}"] = out["md5"]
    for path in sorted((project / "metrics").glob("*.json")):
        results[path.name] = {key: value for key, value in json.loads(path.read_text()).items() if key != "seconds"}
    return results


def _difference(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    return sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))


if __name__ == "__main__":
    counts = [int(word) for word in sys.argv[1:]]
    sys.exit(min(1, main(*(counts + [20, 0][len(counts) :]))))
