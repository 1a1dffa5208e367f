"""The pool as a strategy walks it: in which order, without which pairs, and after which core."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.pairs.layout import has_foreground
from stages.pairs.read import Pairs
from stages.pairs.tables import Choice, read_choices
from stages.pipeline import paths
from stages.pipeline.errors import UserError
from stages.pipeline.files import read_metrics
from stages.pipeline.params.sections import NOTHING, SelectParams

BLOCK = 64  # pairs that are read at once in search of foreground
TEST_ALL = ("first_failure", "pick_to_learn")  # strategies whose cores can be gone on from, since they test all pairs


class Pool(NamedTuple):
    """Where a walk starts.

    Attributes
    ----------
    pairs : Pairs
        The pool in the order of the walk: an earlier core, what is to be walked, what was rejected with that core.
    core : list of Choice
        The core that it goes on from, if any.
    end : int
        Pairs of the core and of what is to be walked.
    strategy : str, optional
        What chose that core.
    """

    pairs: Pairs
    core: list[Choice]
    end: int
    strategy: str | None = None

    @property
    def size(self) -> int:
        """Pairs to choose from."""
        return len(self.pairs)

    @property
    def digest(self) -> str:
        """A digest of the content, of its order, and of the core that it begins with."""
        parts = (self.pairs.digest, self.pairs.order.tobytes(), self.core, self.end)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def positions_of(self, table: str) -> list[int]:
        """Where the rows of a table stand in the walk.

        Raises
        ------
        UserError
            If it is no such table, or names a row that is left out.
        """
        rows = self.pairs.rows_in(Path(table))
        places = np.full(self.pairs.layout.count, -1)
        places[self.pairs.order] = np.arange(len(self.pairs))
        positions: list[int] = places[rows].tolist()
        if -1 in positions:
            raise UserError(f"{table}: row {rows[positions.index(-1)]} is left out by select.exclude")
        return positions


def open_pool(options: SelectParams, filled: int = 0) -> Pool:
    """The pool as the parameters have it walked.

    Parameters
    ----------
    options : SelectParams
        ``order_seed``, ``exclude`` and ``start_from`` are used.
    filled : int
        Pairs with foreground that it shall begin with, the first ones in its order.

    Raises
    ------
    UserError
        If it cannot be read, if a table is not one of its rows, if it does not begin with the pool that the earlier
        core was chosen from, or if it has not as many pairs with foreground as are asked for.
    """
    pairs = Pairs(paths.POOL)
    rows = np.arange(len(pairs))
    if options.order_seed is not None:
        rows = np.random.default_rng(options.order_seed).permutation(rows)
    excluded = pairs.rows_in(Path(options.exclude))
    rows = rows[~np.isin(rows, excluded)]
    earlier = Path(options.start_from)
    if options.start_from == NOTHING:
        if filled:
            rows = _filled_first(pairs, rows, filled)
        return Pool(pairs.in_order(rows), [], len(rows))
    known, strategy = _known_rows(earlier / "core.json", pairs, excluded)
    core = read_choices(earlier / "core.csv", known)
    chosen = np.array([choice.position for choice in core])
    new, rejected = rows[rows >= known], rows[(rows < known) & ~np.isin(rows, chosen)]
    positions = [Choice(place, choice.score, choice.epochs) for place, choice in enumerate(core)]
    return Pool(pairs.in_order(np.concatenate([chosen, new, rejected])), positions, len(core) + len(new), strategy)


def _filled_first(pairs: Pairs, rows: np.ndarray, count: int) -> np.ndarray:
    """Some rows, those of the first pairs with foreground at the front."""
    if pairs.layout.kind == "labels":
        raise UserError(f"seed_training.with_foreground is true, allowed is false for the labels of {pairs.path}")
    found: list[int] = []
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        found = [*found, *part[has_foreground(pairs.read_rows(part).targets)].tolist()][:count]
        if len(found) == count:
            return np.concatenate([found, rows[~np.isin(rows, found)]])
    raise UserError(f"{pairs.path}: {len(found)} pairs with foreground, seed_training.count asks for {count}")


def earlier_model(options: SelectParams) -> Path | None:
    """The network of the earlier core, if there is one to go on from.

    Raises
    ------
    UserError
        If the folder that is named does not hold it.
    """
    if options.start_from == NOTHING:
        return None
    model = Path(options.start_from) / "core.keras"
    if not model.is_file():
        raise UserError(
            f"{model}: missing; select.start_from has to hold core.csv, core.keras and core.json of an earlier core"
        )
    return model


def digest_of_rows(rows: np.ndarray) -> str:
    """A digest of some rows, whatever their order."""
    return hashlib.sha256(np.sort(rows).astype("<i8").tobytes()).hexdigest()


def _known_rows(record: Path, pairs: Pairs, excluded: np.ndarray) -> tuple[int, str]:
    """How many rows the pool had when the earlier core was chosen, and by which strategy.

    After checking that they are still the same, and that all of them were walked but for those that are left out now.
    """
    try:
        values = read_metrics(record)
        rows, digest, strategy, left_out = (
            values[key] for key in ("rows", "rows_digest", "strategy", "excluded_digest")
        )
    except KeyError as error:
        raise UserError(f"{record}: not the record of an earlier selection: {error} is missing") from None
    if type(rows) is not int or not 0 < rows <= len(pairs) or pairs.digest_of(rows) != digest:
        raise UserError(
            f"{pairs.path}: does not begin with the {rows} pairs that the core of {record.parent} was "
            "chosen from; only a pool to which pairs were added can be gone on with, and with the same classes"
        )
    if strategy not in TEST_ALL:
        raise UserError(f"{record}: a core of strategy {strategy!r}, allowed are {' and '.join(TEST_ALL)}")
    if left_out != digest_of_rows(excluded[excluded < rows]):
        raise UserError(
            f"{record}: the earlier core was chosen without other pairs than select.exclude names now; "
            "the same table has to be given again"
        )
    return rows, strategy
