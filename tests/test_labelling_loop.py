"""The loop of someone who labels by the hour: what is labelled next, and how a run goes on with it."""

from pathlib import Path

import numpy as np
import pytest

from stages.pairs.read import Pairs
from stages.pairs.tables import read_rows, read_table
from tests.labelling_loop import Plan, label, lay_out
from tests.project import make_small_project
from tests.wrong_masks import drawn


@pytest.mark.slow
def test_what_triage_ranks_first_is_labelled_next_and_the_core_goes_on(tmp_path: Path) -> None:
    files, project = tmp_path / "files", make_small_project(tmp_path / "project")
    images, masks = drawn(64, 26)
    names = lay_out(files, images, masks, test=6)
    loop = label(project, files, names, Plan(8, 4, 1, 6), "triage", 0, ["dataset.image_size=64"])
    first = next(loop)
    assert (first.masks, len(Pairs(project / "data/train.zarr"))) == (8, 8)
    core = read_rows(project / "data/core.csv", 8)
    second = next(loop)
    ranked = [line["file"] for line in read_table(project / "ranking/ranking.csv")]
    assert sorted(ranked) == sorted(set(names) - set(first.names))
    assert second.names == [*first.names, *ranked[:4]]
    pool = Pairs(project / "data/train.zarr")
    assert len(pool) == 12
    assert np.array_equal(read_rows(project / "data/core.csv", 12)[: len(core)], core)
    assert second.masks == len(set(second.names)) == 12
    assert len(Pairs(project / "data/test.zarr")) == 6
    assert next(loop, None) is None
