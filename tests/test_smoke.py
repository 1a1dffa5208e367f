"""The least that has to work on any machine: `make smoke`."""

from pathlib import Path

from tests.project import metrics, stages_run, succeed


def test_a_small_project_is_reproduced_and_then_nothing_runs(project: Path) -> None:
    assert metrics(project, "evaluate")["test"]["pairs"] == 12
    output = succeed(project, "dvc", "repro")
    assert stages_run(output) == []
    assert "up to date" in output
    assert succeed(project, "git", "status", "--porcelain") == ""
