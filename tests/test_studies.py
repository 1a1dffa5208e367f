"""Studies: the runs that they define, and the runs that are missing."""

import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from copy import deepcopy
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest

from stages.pipeline.errors import UserError
from stages.pipeline.params import validation
from stages.pipeline.params.yaml import read_yaml
from stages.studies import definitions, results, runner, tables
from stages.studies.__main__ import main
from stages.studies.definitions import Definitions, Run, Study, reference_in, runs_of
from tests.project import ROOT, succeed

DEFINED = Definitions.model_validate(read_yaml(ROOT / definitions.FILE))
PARAMETERS = read_yaml(ROOT / "params.yaml")


def test_a_study_is_every_combination_of_its_grids_with_what_they_have_in_common() -> None:
    study = Study.model_validate(
        {
            "asks": "?",
            "common": ["small"],
            "table": {"rows": {}, "columns": {"rows shared": "shared training.seed"}},
            "grids": [
                {"name": "plain", "common": ["large"]},
                {
                    "name": "{strategy}-{seed}",
                    "line": "drawn {seed} {letter}",
                    "for": {"letter": ["a"]},
                    "over": {"select.strategy, select.budget.averaged": [["random", 0.5]], "training.seed": [0, 1]},
                    "with": {
                        "select.given.table": "core of study-{seed}",
                        "select.budget.count": "half the size of study-plain",
                    },
                },
            ],
        }
    )
    found = list(runs_of("study", study, {"small": {"dataset.image_size": 64}, "large": {"dataset.image_size": 9}}))
    small = {"dataset.image_size": 64}
    drawn = {
        **small,
        "select.budget.count": "half the size of study-plain",
        "select.strategy": "random",
        "select.budget.averaged": 0.5,
    }
    of_0, of_1 = ({"select.given.table": f"core of study-{seed}", "training.seed": seed} for seed in (0, 1))
    assert found == [
        Run("study-plain", "study", "", {"dataset.image_size": 9}, keeps_rows=True),
        Run("study-random-0", "study", "drawn 0 a", {**drawn, **of_0}, keeps_rows=True),
        Run("study-random-1", "study", "drawn 1 a", {**drawn, **of_1}, keeps_rows=True),
    ]
    assert [run.needs for run in found] == [set(), {"study-0", "study-plain"}, {"study-1", "study-plain"}]


@pytest.mark.parametrize("name", DEFINED.studies)
def test_every_run_of_the_project_s_studies_has_parameters_that_are_allowed(name: str) -> None:
    study, choices = DEFINED.studies[name], read_yaml(ROOT / "stages/choices.yaml")
    runs = list(runs_of(name, study, DEFINED.common))
    assert len({run.name for run in runs}) == len(runs) > 0
    for run in runs:
        changed = deepcopy(PARAMETERS)
        for dotted, value in run.changes.items():
            *sections, key = dotted.split(".")
            section = reduce(getitem, sections, changed)
            assert key in section, dotted
            reference = reference_in(value)
            section[key] = 7 if reference and reference.words not in definitions.FILES else value
        validation.validate(changed, choices)
        assert run.needs <= DEFINED.runs().keys()


def test_each_pair_of_a_core_is_left_out_once_in_ten_tables_and_the_others_stay_in_order() -> None:
    core = [5, 3, 9, 100, 7, 1, 0, 2, 8, 4, 6, 55]
    tables = runner.but_a_tenth(core)
    assert tables.keys() < definitions.FILES.keys()
    left_out = {words: [row for row in core if row not in rows] for words, rows in tables.items()}
    at_random = left_out.pop("core but tenth at_random")
    assert [row for rows in left_out.values() for row in rows] == core
    assert len(at_random) == 2
    assert at_random != left_out["core but tenth 1"]
    assert all([row for row in core if row in rows] == rows for rows in tables.values())


def make_run(name: str, **changes: Any) -> Run:
    return Run(name, "study", "", changes)


RUNS = {
    run.name: run
    for run in (
        make_run("third", exclude="used of second"),
        make_run("second", exclude="core of first"),
        make_run("first", seed=1),
        make_run("apart", seed=2),
    )
}


@pytest.fixture
def carry_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[str], list[str]]]:
    """Does some of `RUNS` in a folder of its own, without experiments; which were begun, in order, and which failed."""
    monkeypatch.chdir(tmp_path)

    def call(
        names: Sequence[str], fail: Sequence[str] = (), diverge: Sequence[str] = ()
    ) -> tuple[list[str], list[str]]:
        begun: list[str] = []

        def start(run: Run) -> Future[results.Result]:
            begun.append(run.name)
            future: Future[results.Result] = Future()
            if run.name in fail:
                future.set_exception(UserError("it failed"))
                return future
            if run.name in diverge:
                future.set_result({"changes": run.changes, "cores": {}, "diverged": True})
                return future
            folder = results.CORES / run.name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "core.csv").write_text(f"row\n{len(begun)}\n")
            cores = {needed: results.digest_of_core(needed) for needed in run.needs if results.has_core(needed)}
            metrics = {"seed": {"pairs_trained": 20}, "select": {"pairs_trained": 31, "selected": len(run.name)}}
            figures = {needed: results.figures_of(needed) for needed in run.needs}
            future.set_result({"changes": run.changes, "cores": cores, "figures": figures, **metrics})
            return future

        monkeypatch.setattr(runner, "_experiments", lambda _: nullcontext(start))
        failed = runner.run_missing([RUNS[name] for name in names], RUNS)
        return begun, sorted(failed)

    return call


def test_a_run_is_done_after_the_runs_that_it_needs_and_only_once(carry_out: Callable[..., Any]) -> None:
    assert carry_out(["third", "apart"]) == (["first", "apart", "second", "third"], [])
    assert carry_out(RUNS) == ([], [])


def test_the_size_of_a_core_is_known_without_its_files(
    carry_out: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in (make_run("study-core", seed=3), make_run("study-as_many", count="size of study-core")):
        monkeypatch.setitem(RUNS, run.name, run)
    carry_out(["study-core", "first"])
    shutil.rmtree(results.CORES)  # as in a fresh clone
    assert carry_out(["study-as_many"]) == (["study-as_many"], [])
    assert carry_out(["second"]) == (["first", "second"], [])
    core = results.read_results("study")["study-core"]
    results.record(RUNS["study-core"], {**core, "select": {**core["select"], "selected": 99}})
    assert carry_out(["study-as_many"]) == (["study-as_many"], [])


def test_a_failed_run_holds_up_only_the_runs_that_need_it(carry_out: Callable[..., Any]) -> None:
    assert carry_out(RUNS, fail=["second"]) == (["first", "apart", "second"], ["second", "third"])
    assert carry_out(RUNS) == (["second", "third"], [])


def test_a_run_that_diverged_has_a_result_and_no_core_for_others(carry_out: Callable[..., Any]) -> None:
    assert carry_out(RUNS, diverge=["first"]) == (["first", "apart"], ["second", "third"])
    assert results.result_of(RUNS["first"])


def test_a_core_of_a_run_that_failed_since_is_used_no_more(carry_out: Callable[..., Any]) -> None:
    carry_out(["first"])
    earlier = RUNS["first"]
    RUNS["first"] = earlier._replace(changes={**earlier.changes, "seed": 9})
    try:
        assert carry_out(["first", "second"], fail=["first"]) == (["first"], ["first", "second"])
    finally:
        RUNS["first"] = earlier


def test_a_result_counts_as_long_as_its_parameters_and_the_cores_that_it_used_are_the_same(
    carry_out: Callable[..., Any],
) -> None:
    carry_out(RUNS)
    second = RUNS["second"]
    assert results.result_of(second)
    assert not results.result_of(second._replace(changes={**second.changes, "seed": 2}))
    (results.CORES / "first/core.csv").write_text("row\n9\n")
    assert not results.result_of(second)
    (results.CORES / "first/core.csv").unlink()
    (results.CORES / "first").rmdir()  # as in a fresh clone
    assert results.result_of(second)


def test_a_reference_becomes_the_file_or_the_number_that_it_stands_for(carry_out: Callable[..., Any]) -> None:
    carry_out(RUNS)
    Path("params.yaml").write_text("select: {batch_size: 10}")
    found = {
        text: runner.resolve(f"{text} of first", RUNS)
        for text in ("core", "folder", "used", "half the size", "size", "twice the size", "steps")
    }
    assert {text: str(value) for text, value in found.items()} == {
        "core": "kept/first/core.csv",
        "folder": "kept/first",
        "used": "kept/first/used.csv",
        "half the size": "2",
        "size": "5",
        "twice the size": "10",
        "steps": "6",
    }
    assert runner.resolve("k_center", RUNS) == "k_center"


STUDY = """
common: {}
studies:
  small:
    asks: "Is a core better than chance?"
    common: []
    grids:
      - name: "drawn-{seed}"
        line: random
        over: {training.seed: [1]}
        with: {select.strategy: random, select.budget.count: 6, select.budget.epochs: 1}
      - name: "again-{seed}"
        line: the same
        over: {training.seed: [1]}
        with:
          select.strategy: given
          select.given.table: "core of small-drawn-{seed}"
          select.budget.steps: "steps of small-drawn-{seed}"
    table:
      rows: {trained on: line}
      columns: {pairs: select.selected, score: evaluate.test.score, shared: shared}
"""


@pytest.mark.slow
def test_a_study_runs_what_is_missing_and_writes_its_table(project: Path) -> None:
    (project / definitions.FILE).write_text(STUDY)
    (project / results.FOLDER).mkdir()
    (project / tables.README).write_text("before\n<!-- study small -->\nold\n<!-- end -->\nafter\n")
    output = succeed(project, "python", "-m", "stages.studies")
    assert output.splitlines() == ["small-drawn-1: done", "small-again-1: done"]
    table = (project / "metrics/studies/small.md").read_text().splitlines()[2:]
    assert table[0] == "| trained on | runs | pairs | score | shared |"
    assert [line.split(" | ")[:3] for line in table[2:]] == [["| random", "1", "6"], ["| the same", "1", "6"]]
    assert (project / tables.README).read_text().splitlines() == [
        "before",
        "<!-- study small -->",
        *table,
        "<!-- end -->",
        "after",
    ]
    shown = succeed(project, "dvc", "exp", "list", "--name-only")
    assert {"small-drawn-1", "small-again-1"} <= set(shown.split())
    recorded = json.loads((project / "metrics/studies/small.json").read_text())
    assert recorded["small-again-1"]["rows"] == recorded["small-drawn-1"]["rows"]
    assert recorded["small-again-1"]["select"]["steps"] == 1

    del recorded["small-again-1"]
    (project / "metrics/studies/small.json").write_text(json.dumps(recorded))
    assert succeed(project, "python", "-m", "stages.studies", "small") == "small-again-1: done\n"
    assert (project / "metrics/studies/small.md").read_text().splitlines()[2:] == table


def test_an_unknown_study_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=r"study is 'nosuch', allowed are lesson, fashion_walk"):
        main(["nosuch"])


def test_a_definition_that_is_wrong_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    definitions.FILE.parent.mkdir(parents=True)
    definitions.FILE.write_text(STUDY.replace("columns:", "column:"))
    with pytest.raises(UserError, match=r"^stages/studies/studies.yaml: studies\.small\.table\.columns: .*required"):
        definitions.read_definitions()
