"""DVC and an object store: sources that it watches there, and a remote."""

import json
from pathlib import Path

import pytest

from tests.conftest import change_parameters
from tests.files import make_pairs, noise, save
from tests.project import make_small_project, run, stages_run, succeed
from tests.sets import tree
from tests.store import BreakingProxy, client, upload

pytestmark = pytest.mark.slow
SETS = ["generate@train", "generate@test"]


def test_dvc_notices_what_changes_in_a_bucket_and_no_cut_connection_loses_anything(
    tmp_path: Path, bucket: str, breaking: BreakingProxy
) -> None:
    project = make_small_project(tmp_path / "project")
    here = make_pairs(tmp_path / "set", 8, 32, 32)
    url = upload(here, bucket, "set")
    changes = ["name=folder", f"path={url}", "image_size=32", "train_count=null", "test_count=null", "test_share=0.25"]
    output = succeed(project, "dvc", "exp", "run", *(f"-Sdataset.{change}" for change in changes), *SETS)
    assert set(stages_run(output)) == set(SETS)
    assert json.loads(succeed(project, "dvc", "status", "--json", *SETS)) == {}
    assert "testing" not in (project / "dvc.lock").read_text()  # the keys
    before = tree(project / "data/train.zarr")

    change_parameters(project / "params.yaml", {"dataset.path": str(here)})
    succeed(project, "dvc", "repro", *SETS)
    local = tree(project / "data/train.zarr")
    assert {name for name in before if before[name] != local[name]} == {"zarr.json"}  # which names the folder
    change_parameters(project / "params.yaml", {"dataset.path": url})
    succeed(project, "dvc", "repro", *SETS)
    assert tree(project / "data/train.zarr") == before

    save(tmp_path / "other.png", noise(32, 32, seed=99))
    for name in "abcdefgh":
        client().upload_file(str(tmp_path / "other.png"), bucket, f"set/images/{name}.png")
    assert set(json.loads(succeed(project, "dvc", "status", "--json", *SETS))) == set(SETS)
    breaking.target, breaking.left = b"/set/images/", 10**6
    result = run(project, "dvc", "repro", SETS[0], AWS_MAX_ATTEMPTS="1")
    assert result.returncode != 0
    said = [line for line in result.stderr.splitlines() if line.startswith("generate: ")]
    assert len(said) == 1
    assert said[0].startswith(f"generate: {url}/images/")
    assert "dvc checkout" in said[0]
    breaking.left = 2
    assert set(stages_run(succeed(project, "dvc", "repro", *SETS))) == set(SETS)
    assert breaking.left == 0
    assert tree(project / "data/train.zarr") != before


def test_results_go_to_a_bucket_and_come_back_in_a_fresh_clone(
    project: Path, tmp_path: Path, bucket: str, breaking: BreakingProxy
) -> None:
    client().create_bucket(Bucket=bucket)
    succeed(project, "dvc", "remote", "add", "--default", "store", f"s3://{bucket}/cache")
    succeed(project, "dvc", "push")
    assert "in sync" in succeed(project, "dvc", "status", "--cloud")
    succeed(project, "git", "commit", "--quiet", "--all", "--message=A remote")
    clone = tmp_path / "clone"
    succeed(tmp_path, "git", "clone", "--quiet", str(project), str(clone))
    breaking.target, breaking.left = f"GET /{bucket}/cache/files".encode(), 1
    succeed(clone, "dvc", "pull")
    assert breaking.left == 0
    assert "up to date" in succeed(clone, "dvc", "status")
    assert stages_run(succeed(clone, "dvc", "repro")) == []
    for folder in ("data", "models", "metrics"):
        assert tree(clone / folder) == tree(project / folder)
