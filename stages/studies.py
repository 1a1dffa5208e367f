"""Studies: experiments that answer a question together. `python -m stages.studies [NAME …]` runs them and tells.

`stages/studies.yaml` says which there are. Each run is an experiment of DVC under a name of its own; what came of it is
kept in ``metrics/studies/NAME.json``, so that a study that was interrupted goes on with the runs that are missing. From
there the tables are written: ``metrics/studies/NAME.md``, and README.md where it has a place for them.
"""

import itertools
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial, reduce
from operator import getitem
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from stages import end_with_parent, hardware, locks, pictures
from stages.checkpoints import digest
from stages.errors import UserError
from stages.params import PARAMS_FILE, read_yaml

DEFINITIONS = Path("stages/studies.yaml")
RESULTS = Path("metrics/studies")
KEPT = Path(".traincore/studies/kept")  # files that later runs take up of earlier ones
CLONES = Path(".traincore/studies/clones")  # where the runs are done
TAKEN_UP = Path("kept")  # where such files stand in a clone
README = Path("README.md")
METRICS = ("seed", "select", "evaluate")
SPREAD = "evaluate.test.mean_spread"
COLLAPSED = 0.01  # a network whose spread is below it gives one grey value

# What a parameter of a run may take up of an earlier one.
FILES = {"core": "core.csv", "folder": "", "used": "used.csv"}
SHARES = {"half the size": 0.5, "size": 1, "twice the size": 2}
REFERENCE = re.compile(rf"({'|'.join([*FILES, *SHARES, 'steps'])}) of ([\w.-]+)")


class Run(NamedTuple):
    """An experiment: its name, the study that it belongs to, its line of the table, its changes to params.yaml.

    `compared` says whether the table goes by the rows of its core.
    """

    name: str
    study: str
    line: str
    changes: dict[str, Any]
    compared: bool = False

    @property
    def needs(self) -> set[str]:
        """Runs of which it takes something up."""
        found = (REFERENCE.fullmatch(value) for value in self.changes.values() if isinstance(value, str))
        return {match[2] for match in found if match}


def main(names: Sequence[str]) -> None:
    """Run what is missing of some studies, or of all of them, and write their tables."""
    definitions = read_yaml(DEFINITIONS)
    studies = definitions["studies"]
    unknown = sorted(set(names) - set(studies))
    if unknown:
        raise UserError(f"study is {unknown[0]!r}, allowed are {', '.join(studies)}")
    runs = {run.name: run for name, study in studies.items() for run in runs_of(name, study, definitions["common"])}
    asked = [run for run in runs.values() if not names or run.study in names]
    CLONES.mkdir(parents=True, exist_ok=True)
    lock = locks.take(CLONES / "lock")
    if lock is None:
        raise UserError(f"process {locks.holder(CLONES / 'lock')} is running studies in this folder")
    with lock:
        left = _run(asked, runs)
        for name in dict.fromkeys(run.study for run in asked):
            _write(name, studies[name], [run for run in asked if run.study == name])
    if left:
        raise UserError(f"{len(left)} runs have no result: {', '.join(sorted(left))[:200]}")


def _run(asked: Sequence[Run], runs: Mapping[str, Run]) -> set[str]:
    """Do what is missing, round by round, since some runs take up others; names of those that could not be done."""
    failed: set[str] = set()
    while missing := [run for run in _missing(asked, runs) if run.name not in failed]:
        ready = [run for run in missing if all((KEPT / needed).exists() for needed in run.needs)]
        if not ready:
            break
        failed |= _carry_out(ready, runs)
    return failed | {run.name for run in missing}


def runs_of(name: str, study: Mapping[str, Any], common: Mapping[str, Mapping[str, Any]]) -> Iterator[Run]:
    """The runs of a study: of each of its grids every combination of the values.

    Parameters
    ----------
    name : str
        Its name, with which those of its runs begin.
    study : mapping
        ``common``, names of shared changes, and ``grids``, each with a ``name`` for its runs, the values that its
        parameters go ``over``, what they are run ``with`` besides, words ``for`` which it is repeated, and their
        ``line`` in the table. Parameters that are written together, with commas, change together.
    common : mapping
        Shared changes by name.
    """
    shared = {key: value for part in study["common"] for key, value in common[part].items()}
    compared = any(path.split()[0] in OF_ROWS for path in study["table"]["columns"].values())
    for grid in study["grids"]:
        for over, repeated in itertools.product(_each(grid.get("over", {})), _each(grid.get("for", {}))):
            words = {**repeated, **{key.split(".")[-1]: value for key, value in over.items()}}
            changes = {**shared, **grid.get("with", {}), **over}
            filled = {key: value.format(**words) if isinstance(value, str) else value for key, value in changes.items()}
            run, line = (grid.get(key, "").format(**words) for key in ("name", "line"))
            yield Run(f"{name}-{run}", name, line, filled, compared)


def _each(values: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of some keys; keys with commas between them take a list of values at once."""
    for combination in itertools.product(*values.values()):
        found: dict[str, Any] = {}
        for keys, value in zip(values, combination, strict=True):
            together = keys.split(", ")
            found |= zip(together, value if len(together) > 1 else [value], strict=True)
        yield found


def read_results(study: str) -> dict[str, Any]:
    """What came of the runs of a study so far, by their names."""
    path = RESULTS / f"{study}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _all_of(asked: Iterable[Run], runs: Mapping[str, Run]) -> list[str]:
    """Names of some runs and of all that they take something up of, these first."""
    names: dict[str, None] = {}
    for run in asked:
        names |= dict.fromkeys([*_all_of([runs[needed] for needed in sorted(run.needs)], runs), run.name])
    return list(names)


def _missing(asked: Iterable[Run], runs: Mapping[str, Run]) -> list[Run]:
    """Runs that are to be done: those without a result, and before them what they take up and is not at hand."""
    open_runs = [run for run in asked if not _has_result(run)]
    needed = [runs[name] for name in _all_of(open_runs, runs)]
    return [run for run in needed if run in open_runs or not (KEPT / run.name).exists()]


def _has_result(run: Run) -> bool:
    """Whether a run was done as it is defined now, and with what it took up as far as that is at hand."""
    found: Any = read_results(run.study).get(run.name)
    if found is None or found["changes"] != run.changes:
        return False
    at_hand = {name: _digest(KEPT / name) for name in run.needs if (KEPT / name).exists()}
    return all(found["took_up"][name] == value for name, value in at_hand.items())


def _digest(folder: Path) -> str:
    """What a core is told from another by."""
    return digest(folder / "core.csv")


def _carry_out(ready: Sequence[Run], runs: Mapping[str, Run]) -> set[str]:
    """Run some experiments, a few at a time, and keep what comes of each as soon as it is done; names that failed."""
    # DVC's own queue loses experiments when several workers take from it (iterative/dvc issues 10673 and 10779), and
    # both the queue and `--temp` put the workspace's changes aside while they start. So each job has its own clone.
    count = hardware.count_from_environment("TRAINCORE_JOBS")
    clones: queue.Queue[Path] = queue.Queue()
    for number in range(min(count, len(ready))):
        clones.put(_clone(number))

    def work(run: Run) -> dict[str, Any]:
        clone = clones.get()
        try:
            return _experiment(run, runs, clone, max(1, hardware.cores() // count))
        finally:
            clones.put(clone)

    failed = set()
    jobs = ThreadPoolExecutor(count)
    try:
        waiting = {jobs.submit(work, run): run for run in ready}
        for done in as_completed(waiting):
            run = waiting[done]
            try:
                _add_result(run, done.result())
                print(f"{run.name}: done", flush=True)
            except UserError as error:
                failed.add(run.name)
                print(f"{run.name}: {error}", flush=True)
    finally:
        jobs.shutdown(cancel_futures=True)
    return failed


def _clone(number: int) -> Path:
    """A clone of the repository as it is committed, with the same cache, for one job."""
    clone = CLONES / str(number)
    if not (clone / ".dvc/config.local").exists():
        shutil.rmtree(clone, ignore_errors=True)
        _call("git", "clone", "--quiet", ".", str(clone))
        for line in _call("git", "config", "--list").splitlines():
            if line.startswith("user."):
                _call("git", "config", *line.split("=", 1), folder=clone)
        cache = Path(_call("dvc", "cache", "dir").strip()).resolve()
        _call("dvc", "config", "--local", "cache.dir", str(cache), folder=clone)
    return clone


def _experiment(run: Run, runs: Mapping[str, Run], clone: Path, threads: int) -> dict[str, Any]:
    """Run an experiment in a clone and fetch it from there; what is to be kept of it.

    Training that diverges is a result, too.
    """
    commit = _call("git", "rev-parse", "HEAD").strip()
    _call("git", "fetch", "--quiet", "origin", commit, folder=clone)
    _call("git", "checkout", "--quiet", "--force", "--detach", commit, folder=clone)
    for name in run.needs:
        shutil.copytree(KEPT / name, clone / TAKEN_UP / name, dirs_exist_ok=True)
    if _refs_of(run.name, clone):
        _call("dvc", "exp", "remove", run.name, folder=clone)
    settings = [f"--set-param={key}={_literal(_take_up(value, runs))}" for key, value in run.changes.items()]
    result = {"changes": run.changes, "took_up": {name: _digest(KEPT / name) for name in sorted(run.needs)}}
    try:
        _call(
            "dvc", "exp", "run", "--name", run.name, *settings, "evaluate", folder=clone, TRAINCORE_THREADS=str(threads)
        )
    except UserError as error:
        if "training diverged" not in str(error):
            raise
        return {**result, "diverged": True}
    (ref,) = _refs_of(run.name, clone)
    _call("git", "fetch", "--quiet", str(clone), f"+{ref}:{ref}")
    if any(run.name in other.needs for other in runs.values()):
        _keep(run, clone)
    found = {name: json.loads((clone / f"metrics/{name}.json").read_text(encoding="utf-8")) for name in METRICS}
    rows = {"rows": _rows(clone / "data/core.csv")} if run.compared else {}
    return {**result, **found, **rows}


def _keep(run: Run, clone: Path) -> None:
    """Keep the files that other runs take up."""
    folder = KEPT / run.name
    partial = folder.with_name(f"{run.name}.partial")
    for left in (folder, partial):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in ("data/core.csv", "models/core.keras", "metrics/select.json"):
        shutil.copy(clone / name, partial)
    left_out = clone / read_yaml(clone / PARAMS_FILE)["select"]["exclude"]
    used = sorted({*_rows(partial / "core.csv"), *_rows(left_out)})
    (partial / "used.csv").write_text("row\n" + "".join(f"{row}\n" for row in used), encoding="utf-8")
    partial.rename(folder)


def _take_up(value: Any, runs: Mapping[str, Run]) -> Any:
    """A value of a run's changes; in place of what refers to an earlier run, what that came to."""
    match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        return value
    what, earlier = match[1], runs[match[2]]
    if what in FILES:
        return TAKEN_UP / earlier.name / FILES[what]
    result = read_results(earlier.study)[earlier.name]
    if what in SHARES:
        return round(SHARES[what] * result["select"]["selected"])
    batch_size = earlier.changes.get("select.batch_size", read_yaml(PARAMS_FILE)["select"]["batch_size"])
    return -(-(result["seed"]["pairs_trained"] + result["select"]["pairs_trained"]) // batch_size)


def _literal(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _add_result(run: Run, result: Mapping[str, Any]) -> None:
    results = {**read_results(run.study), run.name: result}
    RESULTS.mkdir(parents=True, exist_ok=True)
    written = RESULTS / f"{run.study}.partial.json"
    lines = [f"{json.dumps(name)}: {json.dumps(each)}" for name, each in results.items()]
    written.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    written.replace(RESULTS / f"{run.study}.json")


def table_of(study: Mapping[str, Any], results: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """The lines of a study's table in Markdown: a line for each combination of what its rows are told apart by.

    Where several runs share a line, a column gives their mean and standard deviation.

    Parameters
    ----------
    study : mapping
        Its ``table`` has ``rows`` and ``columns``, each by its heading: parameters, or ``line``; and metrics, or what
        is made of them, see `MADE`.
    results : mapping
        Of its runs, by their names.
    defaults : mapping
        The parameters that a run has not changed.
    """
    table = study["table"]

    def cells(names: Iterable[str]) -> list[str]:
        return [_cell(path, [_value(path, name, results) for name in names]) for path in table["columns"].values()]

    groups = _groups(table["rows"].values(), results, defaults)
    lines = [[*table["rows"], "runs", *table["columns"]]]
    lines += [[*group, _count(names, results), *cells(names)] for group, names in groups.items()]
    if len(groups) > 1 and table.get("total"):
        lines.append(["all", *[""] * (len(table["rows"]) - 1), _count(results, results), *cells(results)])
    marked = [f"| {' | '.join(line)} |" for line in lines]
    return [marked[0], "|" + "---|" * len(lines[0]), *marked[1:]]


def _count(names: Iterable[str], results: Mapping[str, Any]) -> str:
    diverged = [results[name].get("diverged", False) for name in names]
    return f"{len(diverged)}, {sum(diverged)} diverged" if any(diverged) else str(len(diverged))


def _groups(
    keys: Iterable[str], results: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[tuple[str, ...], list[str]]:
    """Names of runs by what they are told apart by."""
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, result in results.items():
        groups[tuple(_label(key, result, defaults) for key in keys)].append(name)
    return groups


def _label(key: str, result: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """What tells a line from others: the text of its grid, or a parameter, without the run that it is taken from."""
    if key == "line":
        return str(result["line"])
    changes = result["changes"]
    value = changes[key] if key in changes else reduce(getitem, key.split("."), defaults)
    match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return match[1] if match else _show(value)


def _value(path: str, name: str, results: Mapping[str, Any]) -> float | None:
    """A metric of a run, by its dotted path, or what is made of several: see `MADE`."""
    kind, _, rest = path.partition(" ")
    if kind in MADE:
        return MADE[kind](rest, name, results)
    found: Any = results[name]
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return None if found is None else float(found)


def _collapsed(_: str, name: str, results: Mapping[str, Any]) -> float | None:
    """Whether a run's network says the same of every pixel."""
    spread = _value(SPREAD, name, results)
    return None if spread is None else float(spread < COLLAPSED)


def _shared(keys: str, name: str, results: Mapping[str, Any]) -> float | None:
    """How many rows a run's core shares with another's, on average: of the runs that have the same values of `keys`."""
    parameters = keys.replace(",", " ").split()
    own = [results[name]["changes"].get(key) for key in parameters]
    others = [
        result["rows"]
        for other, result in results.items()
        if other != name and "rows" in result and [result["changes"].get(key) for key in parameters] == own
    ]
    rows = set(results[name].get("rows", []))
    return mean(len(rows.intersection(other)) for other in others) if rows and others else None


def _first(count: str, name: str, results: Mapping[str, Any]) -> float | None:
    """How many of the first `count` rows of the pool a run's core holds."""
    rows = results[name].get("rows")
    return None if rows is None else float(sum(row < int(count) for row in rows))


# Columns of a table that are more than a metric, by their first word.
MADE = {"collapsed": _collapsed, "shared": _shared, "first": _first}
OF_ROWS = ("shared", "first")  # those that go by the rows of cores


def _cell(path: str, values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    if path == "collapsed":
        return f"{sum(known):.0f} of {len(known)}"
    middle = _show(mean(known))
    return middle if len(known) == 1 else f"{middle} ± {_show(stdev(known))}"


def _show(value: Any) -> str:
    if not isinstance(value, float):
        return "null" if value is None else str(value)
    return f"{value:.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.4g}"


def _write(name: str, study: Mapping[str, Any], runs: Sequence[Run]) -> None:
    """Write a study's table, its place in README.md, and its figure if it has one."""
    found = read_results(name)
    results = {run.name: {**found[run.name], "line": run.line} for run in runs if _has_result(run)}
    if not results:
        return
    lines = table_of(study, results, read_yaml(PARAMS_FILE))
    (RESULTS / f"{name}.md").write_text("\n".join([study["asks"], "", *lines, ""]), encoding="utf-8")
    if "figure" in study:
        _draw(RESULTS / f"{name}.png", study["figure"], results, read_yaml(PARAMS_FILE))
    text = README.read_text(encoding="utf-8")
    place = re.compile(rf"(<!-- study {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    README.write_text(place.sub(lambda match: match[1] + "\n".join(lines) + "\n" + match[2], text), encoding="utf-8")


def _draw(path: Path, figure: Mapping[str, Any], results: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Draw a study's figure: the mean of a metric in each cell."""
    groups = _groups([*figure["rows"].values(), *figure["columns"].values()], results, defaults)
    split = len(figure["rows"])
    cells = {}
    for key, names in groups.items():
        values = [value for value in (_value(figure["value"], name, results) for name in names) if value is not None]
        if values:
            cells[_name(figure["rows"], key[:split]), _name(figure["columns"], key[split:])] = mean(values)
    if cells:
        pictures.draw_heat_map(path, cells, figure["title"])


def _name(keys: Iterable[str], values: Iterable[str]) -> str:
    return ", ".join(f"{key} {value}".strip() for key, value in zip(keys, values, strict=True))


def _rows(table: Path) -> list[int]:
    return [int(line.split(",")[0]) for line in table.read_text(encoding="utf-8").splitlines()[1:]]


def _refs_of(name: str, folder: Path) -> list[str]:
    """The reference of an experiment, if a clone has it."""
    refs = _call("git", "for-each-ref", "--format=%(refname)", "refs/exps", folder=folder).split()
    return [ref for ref in refs if ref.endswith(f"/{name}")]


def _call(*words: str, folder: Path = Path(), **variables: str) -> str:
    """What a command prints.

    Raises
    ------
    UserError
        If it fails, with the lines in which it says why.
    """
    result = subprocess.run(
        words,
        cwd=folder,
        env={**variables, **os.environ},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=partial(end_with_parent, signal.SIGTERM),
    )
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines()
        why = [line for line in lines if re.match(r"(\w+|ERROR): ", line)] or lines or [f"exit {result.returncode}"]
        raise UserError(f"`{' '.join(words)[:200]}` failed: {'; '.join(why)[:500]}")
    return result.stdout


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"studies: {error}")
