"""The state of a choice by Pick-to-Learn, and what its end is worth."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.learning.bounds import bound_by_core
from stages.strategies.shared.state import Progress, State

MOST_SET_ASIDE = 0.2  # of the pool, without a warning


@dataclass
class Picks(State):
    """How far the choice has come.

    Attributes
    ----------
    seeds : int
        Pairs that the core began with; they count neither as chosen nor as candidates in the bound.
    confidence : float
        Of the bound.
    suspect_below : float
        Pairs with a lower score are set aside.
    failed : list of int
        Positions that failed since the last round and joined the core.
    learning : bool
        Whether a round is due or under way; else a scan is.
    round_steps : int
        Training steps of the round so far.
    number : int
        Rounds so far, by which networks are told apart.
    running : float
        Running mean of the scores in training.
    passes : int
        Passes begun.
    core_before : int
        Size of the core when the pass under way began.
    added : list of int
        Pairs that each finished pass chose.
    walked : int
        Pairs tested in all passes.
    counting : bool
        Whether the passes are over and failures are counted alone, without training.
    fresh : bool
        Whether the network is one that began fresh on a core, see ``select.retrain``.
    passes_before : int
        Passes of the network before that one.
    failing : list of int
        Positions that failed in that count.
    certified : bool, optional
        Whether every pair outside the core, but for those set aside, passed under the last network; absent before the
        end.
    queue : ndarray of int64, shape (k,)
        Positions that the pass under way has still to test, in their order.
    closeness : ndarray of float64, shape (n,)
        How close the prediction of each pair was when it was tested last; 0 before.
    tested_with : ndarray of int64, shape (n,)
        Number of the network that each pair was tested with last; -1 before.
    fits : ndarray of float64, shape (n, m)
        How the prediction of each pair fitted then; none before the first.
    """

    ROUND_LIMIT = "select.pick_to_learn.max_steps before its pairs passed; the choice goes on"

    seeds: int = 0
    confidence: float = 0.999
    suspect_below: float = 0.0
    failed: list[int] = field(default_factory=list)
    learning: bool = False
    round_steps: int = 0
    number: int = 0
    running: float = 0.0
    passes: int = 0
    core_before: int = 0
    added: list[int] = field(default_factory=list)
    walked: int = 0
    counting: bool = False
    fresh: bool = False
    passes_before: int = 0
    failing: list[int] = field(default_factory=list)
    certified: bool | None = None
    queue: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64), compare=False)
    closeness: np.ndarray = field(default_factory=lambda: np.empty(0), compare=False)
    tested_with: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64), compare=False)
    fits: np.ndarray = field(default_factory=lambda: np.empty((0, 0)), compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tested_with.size:
            self.tested_with = np.full(self.pool, -1)
            self.closeness = np.zeros(self.pool)

    def progress(self) -> Progress:
        """Pairs dealt with in the pass under way."""
        whole = super().progress()
        return whole._replace(done=self.pool - len(self.queue), figures={"pass": self.passes, **whole.figures})

    def warnings(self) -> list[str]:
        """Lines on an end without a certificate, and on too many pairs that were set aside, with the others."""
        lines = super().warnings()
        if self.certified is False:
            lines.append("select.pick_to_learn.max_passes are over and pairs still fail: no certificate")
        if self.certified is not None and len(self.set_aside()) > MOST_SET_ASIDE * self.pool:
            lines.append(
                f"{len(self.set_aside())} of {self.pool} pairs were set aside: too many to be wrong; a lower precision "
                "(`python -m stages.suggest`), or other seed pairs by select.order_seed, leave fewer"
            )
        return lines

    def metrics(self) -> dict[str, Any]:
        """Figures with passes, certificate and the bound on fresh pairs.

        Pairs outside the core that fail in the end count as chosen in the bound, those set aside among them.
        """
        failing, set_aside = len(self.failing), len(self.set_aside())
        chosen = len(self.chosen) - self.seeds + failing + set_aside
        candidates = self.pool - self.seeds
        return {
            **super().metrics(),
            "certified": self.certified,
            "passes": self.passes,
            "added_by_pass": {"1": sum(self.added[:1]), "later": sum(self.added[1:])},
            "failing": failing,
            "set_aside": set_aside,
            "bound": {
                "failing_share": bound_by_core(chosen, candidates, self.confidence),
                "chosen": chosen,
                "candidates": candidates,
            },
        }

    def set_aside(self) -> np.ndarray:
        """Positions of the pairs that wait, since they failed by far under the last network."""
        low = np.flatnonzero((self.tested_with == self.number) & (self.scores < self.suspect_below))
        return np.setdiff1d(low, self.positions)

    def verified(self) -> tuple[np.ndarray, np.ndarray]:
        """The pairs that were tested with the last network."""
        found = np.flatnonzero(self.tested_with == self.number)
        return found, self.fits[found]
