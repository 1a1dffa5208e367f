"""Tables and figures of studies."""

import re
from pathlib import Path
from typing import Any

import pytest

from stages.drawing import charts
from stages.pipeline.params.choices import get
from stages.pipeline.params.yaml import read_yaml
from stages.studies import definitions, results, runner, tables
from stages.studies.definitions import Definitions, Study, Table
from stages.studies.tables import table_of
from tests.project import ROOT

DEFINED = Definitions.model_validate(read_yaml(ROOT / definitions.FILE))
PARAMETERS = read_yaml(ROOT / "params.yaml")
DEFAULTS = {"training": {"learning_rate": 0.1}}


def result(order: int, selected: int, score: float | None, rows: list[int]) -> dict[str, Any]:
    evaluated = {} if score is None else {"evaluate": {"test": {"score": score}}}
    changes = {"select.order_seed": order, "select.budget.count": f"size of run-{order}"}
    return {"line": "", "changes": changes, "select": {"selected": selected}, "rows": rows, **evaluated}


def test_a_table_has_a_line_for_each_group_and_tells_the_interval_of_its_mean() -> None:
    columns = {"chosen": "select.selected", "score": "evaluate.test.score", "shared": "shared"}
    table = Table(rows={"order": "select.order_seed"}, columns=columns, total=True)
    runs = {
        "a": result(1, 10, 0.5, [1, 2, 3]),
        "b": result(1, 14, 0.75, [2, 3, 4]),
        "c": result(2, 12345, None, [9]),
    }
    assert table_of(table, runs, DEFAULTS) == [
        "| order | runs | chosen | score | shared |",
        "|---|---|---|---|---|",
        "| 1 | 2 | 12 ± 25.41 | 0.625 ± 1.588 | 1 ± 0 |",
        "| 2 | 1 | 12345 | – | 0 |",
        "| all | 3 | 4123 ± 17688 | 0.625 ± 1.588 | 0.6667 ± 1.434 |",
    ]


def test_a_table_tells_lines_apart_by_the_words_of_a_reference_and_not_by_its_run() -> None:
    table = Table(rows={"size": "select.budget.count"}, columns={"chosen": "select.selected"})
    runs = {"a": result(1, 10, None, []), "b": result(2, 20, None, [])}
    assert table_of(table, runs, DEFAULTS)[2:] == ["| size | 2 | 15 ± 63.53 |"]


def test_rows_are_shared_with_the_runs_that_have_the_same_values() -> None:
    runs = {
        name: {"line": "", "changes": {"training.seed": seed, "select.budget.count": size}, "rows": rows}
        for name, seed, size, rows in (
            ("a", 1, 5, [1, 2, 3]),
            ("b", 1, 6, [3, 4]),
            ("c", 2, 5, [1, 2]),
            ("d", 2, 6, []),
        )
    }
    table = Table(rows={"size": "select.budget.count"}, columns={"seed": "shared training.seed", "any": "shared"})
    assert table_of(table, runs, DEFAULTS)[2:] == [
        "| 5 | 2 | 0.5 ± 6.353 | 0.8333 ± 2.118 |",
        "| 6 | 2 | 1 | 0.3333 |",
    ]


def test_a_table_counts_the_first_rows_of_the_pool_that_a_core_holds() -> None:
    runs = {"a": result(1, 3, None, [0, 4, 5]), "b": result(1, 1, None, [3])}
    del runs["b"]["rows"]
    table = Table(rows={"order": "select.order_seed"}, columns={"of 5": "first 5", "of 6": "first 6"})
    assert table_of(table, runs, DEFAULTS)[2:] == ["| 1 | 2 | 2 | 3 |"]


def test_a_table_counts_collapsed_networks() -> None:
    runs = {
        name: {"line": "", "changes": {}, "evaluate": {"test": {"mean_spread": spread}}}
        for name, spread in {"a": 0.0, "b": 0.0099, "c": 0.3}.items()
    }
    table = Table(rows={"rate": "training.learning_rate"}, columns={"collapsed": "collapsed"})
    assert table_of(table, runs, DEFAULTS)[2:] == ["| 0.1 | 3 | 2 of 3 |"]


def test_a_table_tells_failing_shares_and_counts_bounds_that_do_not_hold() -> None:
    runs = {
        name: {
            "line": "",
            "changes": {},
            "select": {"bound": {"failing_share": 0.1}},
            "evaluate": {"test": {"pairs": 50, "below_bar": failing}},
        }
        for name, failing in {"a": 5, "b": 6, "c": 1}.items()
    }
    runs["d"] = {"line": "", "changes": {}, "select": {"bound": None}, "evaluate": {"test": {"pairs": 0}}}
    table = Table(rows={"rate": "training.learning_rate"}, columns={"failing": "failing", "broken": "broken"})
    assert table_of(table, runs, DEFAULTS)[2:] == ["| 0.1 | 4 | 0.08 ± 0.1314 | 1 of 3 |"]


def test_a_difference_is_taken_seed_by_seed_and_bold_where_its_interval_leaves_out_zero() -> None:
    failing = {
        "core": {1: 3, 2: 40, 3: 10},
        "random": {1: 13, 2: 51, 3: 19},
        "other": {1: 3, 2: 39, 3: 12},
        "apart": {4: 7},
    }
    runs = {
        f"{line}-{seed}": {
            "line": line,
            "changes": {"training.seed": seed},
            "evaluate": {"test": {"below_bar": count}},
        }
        for line, counts in failing.items()
        for seed, count in counts.items()
    }
    table = Table(rows={"of": "line"}, columns={"more": "difference evaluate.test.below_bar core"})
    assert table_of(table, runs, DEFAULTS)[2:] == [
        "| core | 3 | – |",
        "| random | 3 | **10 ± 2.484** |",
        "| other | 3 | 0.3333 ± 3.795 |",
        "| apart | 1 | – |",
    ]


def test_a_table_tells_how_many_runs_diverged() -> None:
    runs = {"a": result(1, 10, 0.5, []), "b": {"line": "", "changes": {"select.order_seed": 1}, "diverged": True}}
    table = Table(rows={"order": "select.order_seed"}, columns={"score": "evaluate.test.score"})
    assert table_of(table, runs, DEFAULTS)[2:] == ["| 1 | 2, 1 diverged | 0.5 |"]


def test_a_study_is_written_as_a_table_in_two_places_and_a_figure_of_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(charts, "heat_map", lambda cells, title: drawn.update(cells, title=title) or b"PNG")
    study = Study.model_validate(
        {
            "asks": "?",
            "common": [],
            "grids": [],
            "table": {"rows": {"rate": "training.learning_rate"}, "columns": {}},
            "figure": {
                "title": "Score",
                "rows": {"rate": "training.learning_rate"},
                "columns": {"order": "select.order_seed", "": "line"},
                "value": "evaluate.test.score",
            },
        }
    )
    runs = {"a": result(1, 0, 0.5, []), "b": result(1, 0, 1.0, []), "c": result(2, 0, None, [])}
    runs = {name: {**each, "line": "he_normal"} for name, each in runs.items()}
    monkeypatch.chdir(tmp_path)
    results.FOLDER.mkdir(parents=True)
    tables.README.write_text("<!-- study small -->\nold\n<!-- end -->\n<!-- study other -->\n<!-- end -->\n")
    tables.write("small", study, runs, DEFAULTS)
    assert drawn == {("rate 0.1", "order 1, he_normal"): 0.75, "title": "Score"}
    assert (results.FOLDER / "small.png").read_bytes() == b"PNG"
    table = "| rate | runs |\n|---|---|\n| 0.1 | 3 |\n"
    assert (results.FOLDER / "small.md").read_text() == f"?\n\n{table}"
    assert tables.README.read_text() == (
        f"<!-- study small -->\n{table}<!-- end -->\n<!-- study other -->\n<!-- end -->\n"
    )


def test_a_study_can_show_the_means_of_a_column_with_their_intervals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(charts, "intervals", lambda values, title: drawn.update(values=values, title=title) or b"PNG")
    table = {
        "rows": {"order": "select.order_seed", "": "line"},
        "columns": {"chosen": "select.selected", "score": "evaluate.test.score"},
    }
    study = Study.model_validate({"asks": "?", "common": [], "grids": [], "table": table, "intervals": "score"})
    runs = {
        "a": result(1, 0, 0.5, []),
        "b": result(1, 0, 0.75, []),
        "c": result(2, 0, 1.0, []),
        "d": result(3, 0, None, []),
    }
    monkeypatch.chdir(tmp_path)
    results.FOLDER.mkdir(parents=True)
    tables.README.write_text("")
    tables.write("small", study, {name: {**each, "line": "core"} for name, each in runs.items()}, DEFAULTS)
    assert drawn == {
        "values": [("1, core", 0.625, pytest.approx(1.588, abs=1e-3)), ("2, core", 1.0, 0.0)],
        "title": "score: mean and 95 % interval",
    }
    assert (results.FOLDER / "small.png").read_bytes() == b"PNG"


@pytest.mark.parametrize("name", DEFINED.studies)
def test_every_table_of_the_project_s_studies_shows_parameters_and_metrics(name: str) -> None:
    table = DEFINED.studies[name].table
    for key in table.rows.values():
        *sections, last = key.split(".")
        assert key == "line" or last in (get(PARAMETERS, ".".join(sections)) if sections else PARAMETERS)
    assert (DEFINED.studies[name].intervals or next(iter(table.columns))) in table.columns
    metrics = [column for column in table.columns.values() if column.split()[0] not in tables.COMPUTED]
    assert {column.split(".")[0] for column in metrics} <= runner.METRICS.keys()


def test_the_readme_of_the_studies_shows_every_table() -> None:
    text = (ROOT / tables.README).read_text()
    shown = dict(re.findall(r"<!-- study (\w+) -->\n(.*?)<!-- end -->", text, re.DOTALL))
    assert shown == {
        name: (ROOT / results.FOLDER / f"{name}.md").read_text().split("\n\n", 1)[1] for name in DEFINED.studies
    }
