"""Studies: which runs they come to, and what their tables say of the results."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from skimage.io import imread

from stages import params, pictures, studies
from stages.errors import UserError
from stages.studies import Run, runs_of, table_of
from tests.project import ROOT

DEFINITIONS = params.read_yaml(ROOT / studies.DEFINITIONS)


def test_a_study_is_every_combination_of_its_grids_with_what_they_have_in_common() -> None:
    study = {
        "common": ["small"],
        "table": {"columns": {"rows shared": "shared training.seed"}},
        "grids": [
            {"name": "plain"},
            {
                "name": "{strategy}-{seed}",
                "line": "drawn {seed} {letter}",
                "for": {"letter": ["a"]},
                "over": {"select.strategy, select.averaged": [["random", 0.5]], "training.seed": [0, 1]},
                "with": {"select.given": "core of study-{seed}", "select.size": "half the size of study-plain"},
            },
        ],
    }
    found = list(runs_of("study", study, {"small": {"dataset.image_size": 64}, "large": {"dataset.image_size": 9}}))
    small = {"dataset.image_size": 64}
    drawn = {
        **small,
        "select.size": "half the size of study-plain",
        "select.strategy": "random",
        "select.averaged": 0.5,
    }
    of_0, of_1 = ({"select.given": f"core of study-{seed}", "training.seed": seed} for seed in (0, 1))
    assert found == [
        Run("study-plain", "study", "", small, compared=True),
        Run("study-random-0", "study", "drawn 0 a", {**drawn, **of_0}, compared=True),
        Run("study-random-1", "study", "drawn 1 a", {**drawn, **of_1}, compared=True),
    ]
    assert [run.needs for run in found] == [set(), {"study-0", "study-plain"}, {"study-1", "study-plain"}]


DEFAULTS = {"training": {"learning_rate": 0.1}}


def all_runs() -> dict[str, list[Run]]:
    return {name: list(runs_of(name, study, DEFINITIONS["common"])) for name, study in DEFINITIONS["studies"].items()}


@pytest.mark.parametrize("name", DEFINITIONS["studies"])
def test_every_run_of_the_project_s_studies_has_parameters_that_are_allowed(name: str) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    choices = params.read_yaml(ROOT / "stages/choices.yaml")
    study = DEFINITIONS["studies"][name]
    runs = all_runs()[name]
    assert len({run.name for run in runs}) == len(runs) > 0
    for run in runs:
        changed = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
        for dotted, value in run.changes.items():
            *sections, key = dotted.split(".")
            section = changed[sections[0]] if sections else changed
            assert key in section
            number = isinstance(value, str) and studies.REFERENCE.fullmatch(value) and key in ("size", "steps")
            section[key] = 7 if number else value
        params.validate(changed, choices)
        assert run.needs <= {each.name for group in all_runs().values() for each in group}
    paths = [path for path in study["table"]["columns"].values() if path.split()[0] not in studies.MADE]
    assert {path.split(".")[0] for path in paths} <= {"seed", "select", "evaluate"}


def result(order: int, selected: int, score: float | None, rows: list[int]) -> dict[str, Any]:
    evaluated = {} if score is None else {"evaluate": {"test": {"score": score}}}
    changes = {"select.order_seed": order, "select.size": f"size of run-{order}"}
    return {"line": "", "changes": changes, "select": {"selected": selected}, "rows": rows, **evaluated}


def test_a_table_has_a_line_for_each_group_and_tells_their_spread() -> None:
    table = {
        "rows": {"order": "select.order_seed"},
        "total": True,
        "columns": {"chosen": "select.selected", "score": "evaluate.test.score", "shared": "shared"},
    }
    results = {
        "a": result(1, 10, 0.5, [1, 2, 3]),
        "b": result(1, 14, 0.75, [2, 3, 4]),
        "c": result(2, 12345, None, [9]),
    }
    assert table_of({"table": table}, results, DEFAULTS) == [
        "| order | runs | chosen | score | shared |",
        "|---|---|---|---|---|",
        "| 1 | 2 | 12 ± 2.828 | 0.625 ± 0.1768 | 1 ± 0 |",
        "| 2 | 1 | 12345 | – | 0 |",
        "| all | 3 | 4123 ± 7120 | 0.625 ± 0.1768 | 0.6667 ± 0.5774 |",
    ]


def test_a_table_tells_lines_apart_by_what_is_taken_up_and_not_by_the_run_that_it_is_taken_from() -> None:
    table = {"rows": {"size": "select.size"}, "columns": {"chosen": "select.selected"}}
    results = {"a": result(1, 10, None, []), "b": result(2, 20, None, [])}
    assert table_of({"table": table}, results, DEFAULTS)[2:] == ["| size | 2 | 15 ± 7.071 |"]


def test_rows_are_shared_with_the_runs_that_have_the_same_values() -> None:
    results = {
        name: {"line": "", "changes": {"training.seed": seed, "select.size": size}, "rows": rows}
        for name, seed, size, rows in (
            ("a", 1, 5, [1, 2, 3]),
            ("b", 1, 6, [3, 4]),
            ("c", 2, 5, [1, 2]),
            ("d", 2, 6, []),
        )
    }
    table = {"rows": {"size": "select.size"}, "columns": {"seed": "shared training.seed", "any": "shared"}}
    assert table_of({"table": table}, results, DEFAULTS)[2:] == [
        "| 5 | 2 | 0.5 ± 0.7071 | 0.8333 ± 0.2357 |",
        "| 6 | 2 | 1 | 0.3333 |",
    ]


def test_a_table_counts_the_first_rows_of_the_pool_that_a_core_holds() -> None:
    results = {"a": result(1, 3, None, [0, 4, 5]), "b": result(1, 1, None, [3])}
    del results["b"]["rows"]
    table = {"rows": {"order": "select.order_seed"}, "columns": {"of 5": "first 5", "of 6": "first 6"}}
    assert table_of({"table": table}, results, DEFAULTS)[2:] == ["| 1 | 2 | 2 | 3 |"]


def test_a_table_counts_networks_that_say_the_same_of_every_pixel() -> None:
    results = {
        name: {"line": "", "changes": {}, "evaluate": {"test": {"mean_spread": spread}}}
        for name, spread in {"a": 0.0, "b": 0.0099, "c": 0.3}.items()
    }
    table = {"rows": {"rate": "training.learning_rate"}, "columns": {"collapsed": "collapsed"}}
    assert table_of({"table": table}, results, DEFAULTS)[2:] == ["| 0.1 | 3 | 2 of 3 |"]


def test_a_figure_shows_a_number_in_every_cell(tmp_path: Path) -> None:
    picture = tmp_path / "map.png"
    cells = {("a", "x"): 0.1, ("b", "x"): 0.2, ("b", "y"): 0.4}
    pictures.draw_heat_map(picture, cells, "Spread")
    first = picture.read_bytes()
    assert imread(picture).shape[2] == 4
    pictures.draw_heat_map(picture, cells, "Spread")
    assert picture.read_bytes() == first
    pictures.draw_heat_map(picture, {**cells, ("b", "y"): 0.5}, "Spread")
    assert picture.read_bytes() != first


def test_an_unknown_study_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=r"study is 'nosuch', allowed are lesson, fashion_walk"):
        studies.main(["nosuch"])
