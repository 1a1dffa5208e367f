"""Results of runs: their metrics in ``metrics/studies``, and the files of a core that later runs need."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.pipeline.files import atomic, digest
from stages.studies.definitions import Run

FOLDER = Path("metrics/studies")
CORES = Path(".traincore/studies/kept")  # a folder for each run that others refer to

Result = dict[str, Any]


def read_results(study: str) -> dict[str, Result]:
    """Recorded results of a study by the names of its runs."""
    path = FOLDER / f"{study}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def record(run: Run, result: Mapping[str, Any]) -> None:
    """Add the result of a run to those of its study: changes, commit of the code, digests of cores it used, metrics."""
    results = {**read_results(run.study), run.name: result}
    lines = [f"{json.dumps(name)}: {json.dumps(each)}" for name, each in results.items()]
    with atomic(FOLDER / f"{run.study}.json") as [partial]:
        partial.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def result_of(run: Run) -> Result | None:
    """The recorded result of a run; None if its parameters, or a core or figures that it used, have changed since."""
    result = read_results(run.study).get(run.name)
    if result is None or result["changes"] != run.changes:
        return None
    changed = [name for name, used in result["cores"].items() if has_core(name) and used != digest_of_core(name)]
    changed += [name for name, used in result.get("figures", {}).items() if used != figures_of(name)]
    return None if changed else result


def figures_of(name: str) -> list[int]:
    """The recorded size of a run's core, and the pairs that it trained on; none without a result."""
    result = read_results(name.split("-", 1)[0]).get(name, {})
    figures = [("select", "selected"), ("seed", "pairs_trained"), ("select", "pairs_trained")]
    return [result[part][key] for part, key in figures if part in result]


def has_core(name: str) -> bool:
    """Whether the files of a run's core are at hand; they are not part of the repository."""
    return (CORES / name).exists()


def digest_of_core(name: str) -> str:
    """SHA-256 of the table of a run's core."""
    return digest(CORES / name / "core.csv")
