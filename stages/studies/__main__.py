"""Studies: experiments that answer a question together. ``python -m stages.studies [NAME …]``.

It runs the experiments of ``studies.yaml`` that have no result yet, and writes the tables in ``metrics/studies`` anew.
An interrupted study goes on with the runs that are missing.
"""

import sys
from collections.abc import Sequence

from stages.pipeline import locks
from stages.pipeline.entry import run
from stages.pipeline.errors import UserError
from stages.pipeline.params import validation
from stages.pipeline.params.yaml import read_yaml
from stages.studies import tables
from stages.studies.definitions import read_definitions
from stages.studies.results import result_of
from stages.studies.runner import CLONES, run_missing


def main(names: Sequence[str]) -> None:
    """Run the missing experiments of some studies, or of all if none is named, and write their tables.

    Raises
    ------
    UserError
        If a study is unknown, another process is running studies, or a run has no result in the end.
    """
    definitions = read_definitions()
    unknown = sorted(set(names) - set(definitions.studies))
    if unknown:
        raise UserError(f"study is {unknown[0]!r}, allowed are {', '.join(definitions.studies)}")
    runs = definitions.runs()
    asked = [run for run in runs.values() if not names or run.study in names]
    CLONES.mkdir(parents=True, exist_ok=True)
    lock = locks.take(CLONES / "lock")
    if lock is None:
        raise UserError(f"process {locks.holder(CLONES / 'lock')} is running studies in this folder")
    with lock:
        failed = run_missing(asked, runs)
        for name in dict.fromkeys(run.study for run in asked):
            found = [(run, result_of(run)) for run in asked if run.study == name]
            results = {run.name: {**result, "line": run.line} for run, result in found if result}
            if results:
                tables.write(name, definitions.studies[name], results, read_yaml(validation.FILE))
    if failed:
        raise UserError(f"{len(failed)} runs have no result: {', '.join(sorted(failed))[:200]}")


if __name__ == "__main__":
    run("studies", lambda: main(sys.argv[1:]))
