"""The pool as it is walked: its order, what is left out, and what an earlier core is gone on from."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from stages.pairs.layout import Block, Layout, Origins
from stages.pairs.read import Pairs
from stages.pairs.tables import Choice
from stages.pairs.write import create, finish, write_shard
from stages.pipeline import paths
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import BudgetParams, SelectParams
from stages.strategies.first_failure import Walk, start
from stages.strategies.shared.pool import Pool, digest_of_rows, earlier_model, open_pool
from stages.strategies.shared.strategy import Settings
from tests.project import ROOT
from tests.sets import write_set

ROWS = 12
KNOWN = 8


def write_pool(count: int = ROWS) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (ROWS, 2, 2, 3), np.uint8)[:count]
    layout = Layout(count, (2, 2, 3), "uint8")
    create(paths.POOL, layout, {})
    finish(paths.POOL, write_shard(paths.POOL, layout, 0, Block(images, images[..., :1] % 2)))


def write_earlier(
    folder: Path,
    core: str = "row,order,score,epochs\n3,0,,0\n6,1,0.5,2\n",
    left_out: Sequence[int] = (),
    **changes: Any,
) -> None:
    """What is kept of a run on the first pairs of the pool."""
    folder.mkdir()
    (folder / "core.csv").write_text(core)
    (folder / "core.keras").touch()
    walked = {"strategy": "first_failure", "excluded_digest": digest_of_rows(np.array(left_out, dtype=np.int64))}
    values = {"rows": KNOWN, "rows_digest": Pairs(paths.POOL).digest_of(KNOWN), **walked, **changes}
    (folder / "core.json").write_text(json.dumps(values))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "stages/none").mkdir(parents=True)
    (tmp_path / "stages/none/pairs.csv").write_bytes((ROOT / "stages/none/pairs.csv").read_bytes())
    monkeypatch.chdir(tmp_path)
    write_pool()
    return tmp_path


def options(**changes: Any) -> SelectParams:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())["select"]
    known = {name: value for name, value in values.items() if name in SelectParams.model_fields}
    return SelectParams(**{**known, **changes})


def walk_of(pool: Pool, seeds: int) -> Walk:
    """A walk of the pool before its first step."""
    budget = BudgetParams(count=1, epochs=1, steps=None, averaged=0.0)
    return start(pool, Settings(0.5, 0.5, 0.999, 0.0, 1, seeds, 0, budget, 0, options=None))


def test_by_default_it_is_walked_as_it_stands(folder: Path) -> None:
    pool = open_pool(options())
    assert pool.pairs.order.tolist() == list(range(ROWS))
    walk = walk_of(pool, seeds=3)
    assert walk.chosen == [Choice(position, None) for position in range(3)]
    assert (walk.pool, walk.end, walk.tested, walk.core_before) == (ROWS, ROWS, 3, 3)


def test_an_order_seed_shuffles_all_rows_and_always_in_the_same_way(folder: Path) -> None:
    one, again, other = (open_pool(options(order_seed=seed)) for seed in (1, 1, 2))
    assert sorted(one.pairs.order) == list(range(ROWS))
    assert one.pairs.order.tolist() == again.pairs.order.tolist()
    assert one.digest == again.digest
    assert len({tuple(pool.pairs.order) for pool in (one, other, open_pool(options()))}) == 3
    assert len({pool.digest for pool in (one, other, open_pool(options()))}) == 3


@pytest.mark.parametrize("order_seed", [None, 4])
def test_rows_of_an_earlier_core_are_left_out_before_the_seed_pairs_are_taken(
    folder: Path, order_seed: int | None
) -> None:
    (folder / "earlier.csv").write_text("row\n0\n5\n")
    whole = open_pool(options(order_seed=order_seed)).pairs.order.tolist()
    pool = open_pool(options(order_seed=order_seed, exclude="earlier.csv"))
    assert pool.pairs.order.tolist() == [row for row in whole if row not in (0, 5)]
    assert (walk_of(pool, 2).pool, walk_of(pool, 2).end) == (ROWS - 2, ROWS - 2)


def test_the_first_pairs_with_foreground_can_be_put_first(folder: Path) -> None:
    masks = np.zeros((ROWS, 16, 16, 1), np.uint8)
    masks[[3, 5, 8]] = 1
    shutil.rmtree(paths.POOL)
    write_set(paths.POOL, np.zeros((ROWS, 16, 16, 3), np.uint8), masks)
    assert open_pool(options(), 2).pairs.order.tolist() == [3, 5, *(row for row in range(ROWS) if row not in (3, 5))]
    shuffled = open_pool(options(order_seed=1)).pairs.order.tolist()
    first = [row for row in shuffled if row in (3, 5, 8)]
    assert open_pool(options(order_seed=1), 3).pairs.order.tolist()[:3] == first
    with pytest.raises(UserError, match=r"train\.zarr: 3 pairs with foreground, seed_training\.count asks for 4"):
        open_pool(options(), 4)


@pytest.mark.parametrize("content", ["row\n12\n", "column\n1\n", "row\n1\n1\n"])
def test_a_table_of_other_rows_is_refused(folder: Path, content: str) -> None:
    (folder / "earlier.csv").write_text(content)
    with pytest.raises(UserError, match=r"^earlier\.csv: (line 2: row|first line|row 1) "):
        open_pool(options(exclude="earlier.csv"))
    with pytest.raises(UserError, match=r"^nosuch\.csv: cannot be read"):
        open_pool(options(exclude="nosuch.csv"))


def test_a_table_of_another_import_is_refused(folder: Path) -> None:
    shutil.rmtree(paths.POOL)
    origins = Origins([("a.png", "b.png"), ("c.png", "d.png")], np.array([[0, 0, 0, 0], [0, 0, 2, 0], [1, 0, 0, 0]]))
    write_set(paths.POOL, np.zeros((3, 2, 2, 3), np.uint8), origins=origins)
    table = folder / "earlier.csv"
    for content, right in (
        ("row,file,top,left,page\n1,a.png,0,2,0\n", True),
        ("file,row\nc.png,2\n", True),
        ("row\n1\n", True),
        ("row,file\n1,\n", True),
        ("row,file,top,left,page\n1,a.png,0,0,0\n", False),
        ("row,file\n1,c.png\n", False),
    ):
        table.write_text(content)
        if right:
            assert len(open_pool(options(exclude="earlier.csv")).pairs) == 2
            continue
        for read in (
            lambda: open_pool(options(exclude="earlier.csv")),
            lambda: open_pool(options()).positions_of("earlier.csv"),
        ):
            with pytest.raises(UserError, match=r"^earlier\.csv: line 2: row 1 is .* in the pool at hand it is a\.png"):
                read()


def test_a_walk_that_goes_on_has_the_core_first_then_the_new_rows_then_those_rejected(folder: Path) -> None:
    write_earlier(folder / "first")
    pool = open_pool(options(start_from="first"))
    assert pool.pairs.order.tolist() == [3, 6, 8, 9, 10, 11, 0, 1, 2, 4, 5, 7]
    walk = walk_of(pool, seeds=5)
    assert walk.chosen == [Choice(0, None, 0), Choice(1, 0.5, 2)]
    assert (walk.pool, walk.end, walk.tested, walk.core_before) == (12, 6, 2, 2)
    shuffled = open_pool(options(start_from="first", order_seed=1)).pairs.order.tolist()
    assert shuffled[:2] == [3, 6]
    assert (sorted(shuffled[2:6]), sorted(shuffled[6:])) == ([8, 9, 10, 11], [0, 1, 2, 4, 5, 7])


def test_what_was_left_out_of_an_earlier_walk_is_left_out_again(folder: Path) -> None:
    write_earlier(folder / "first", left_out=[0])
    (folder / "earlier.csv").write_text("row\n0\n9\n")
    pool = open_pool(options(start_from="first", exclude="earlier.csv"))
    assert pool.pairs.order.tolist() == [3, 6, 8, 10, 11, 1, 2, 4, 5, 7]
    for rows in ("", "6\n", "0\n1\n"):
        (folder / "earlier.csv").write_text(f"row\n{rows}")
        with pytest.raises(UserError, match=r"first/core\.json: the earlier core was chosen without other pairs"):
            open_pool(options(start_from="first", exclude="earlier.csv"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows_digest": "0"}, "does not begin with the 8 pairs that the core of first was chosen from"),
        ({"rows": 7}, "does not begin with the 7 pairs"),
        ({"rows": 13}, "does not begin with the 13 pairs"),
        ({"rows": True}, "does not begin with"),
        ({"strategy": "random"}, "a core of strategy 'random', allowed are first_failure and pick_to_learn"),
        ({"core": "row,order,score,epochs\n8,0,,0\n"}, "first/core.csv: line 2: row is '8'"),
        ({"core": "row\n3\n"}, "first/core.csv: first line 'row', expected a column 'score'"),
        (
            {"core": "row,order,score,epochs\n3,0,much,0\n"},
            "first/core.csv: line 2: score is 'much', allowed is a number",
        ),
    ],
)
def test_an_earlier_core_of_another_pool_is_refused(folder: Path, changes: dict[str, Any], said: str) -> None:
    write_earlier(folder / "first", **changes)
    with pytest.raises(UserError) as caught:
        open_pool(options(start_from="first"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", "\0"])
def test_a_record_that_is_none_is_refused(folder: Path, content: str) -> None:
    write_earlier(folder / "first")
    (folder / "first/core.json").write_text(content)
    with pytest.raises(UserError, match=r"first/core\.json: (damaged: |not the record of an earlier selection: )"):
        open_pool(options(start_from="first"))


def test_a_folder_without_a_network_is_refused(folder: Path) -> None:
    write_earlier(folder / "first")
    assert earlier_model(options(start_from="first")) == Path("first/core.keras")
    assert earlier_model(options()) is None
    (folder / "first/core.keras").unlink()
    with pytest.raises(UserError, match=r"first/core\.keras: missing; select\.start_from has to hold"):
        earlier_model(options(start_from="first"))
    with pytest.raises(UserError, match=r"nosuch/core\.json"):
        open_pool(options(start_from="nosuch"))
