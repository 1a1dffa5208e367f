"""The state of a choice, and the figures that every strategy reports."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from stages.pairs.tables import Choice

LATELY, NEARLY_ALL = 100, 0.8  # pairs tested, and the share of them that are too many in the core


class Round(NamedTuple):
    """How far a choice was at the end of a training round: pairs tested, pairs chosen, last epoch, epochs so far."""

    tested: int
    selected: int
    score: float | None
    loss: float | None
    epochs: int


class Progress(NamedTuple):
    """How much of the work is done, of how much, counted in what, and the figures beside it."""

    done: int
    total: int
    unit: str
    figures: dict[str, float | None]


@dataclass
class State:
    """How far a choice has come: plain data, from which the strategy can go on.

    A strategy that has more to remember derives its own state; arrays are fields whose values are arrays.

    Attributes
    ----------
    ROUND_LIMIT : str
        End of the warning about rounds that stalled: the limit that they reached, and what happens then. Only
        strategies with rounds have it.
    pool : int
        Pairs to choose from.
    chosen : list of Choice
        The core so far, in the order of choice.
    tested : int
        Pairs dealt with.
    epochs, steps, pairs_trained, pairs_scored : int
        Work done.
    score, loss : float, optional
        Of the last epoch; absent before the first.
    rounds : list of Round
        The course of the choice.
    stalled_rounds : int
        Training rounds that reached their limit before their goal.
    retrained : int
        Training steps of a fresh network on the core that is chosen.
    scores : ndarray of float64, shape (n,)
        Of each pair when it was tested last; NaN before.
    """

    ROUND_LIMIT: ClassVar[str]

    pool: int
    chosen: list[Choice] = field(default_factory=list)
    tested: int = 0
    epochs: int = 0
    steps: int = 0
    pairs_trained: int = 0
    pairs_scored: int = 0
    score: float | None = None
    loss: float | None = None
    rounds: list[Round] = field(default_factory=list)
    stalled_rounds: int = 0
    retrained: int = 0
    scores: np.ndarray = field(default_factory=lambda: np.empty(0), compare=False)

    def __post_init__(self) -> None:
        if not self.scores.size:
            self.scores = np.full(self.pool, np.nan)

    @property
    def positions(self) -> list[int]:
        """Positions of the core, in the order of choice."""
        return [choice.position for choice in self.chosen]

    def progress(self) -> Progress:
        """How far the choice is."""
        figures = {"selected": len(self.chosen), "score": self.score, "loss": self.loss}
        return Progress(self.tested, self.pool, "pair", figures)

    def warnings(self) -> list[str]:
        """Lines that a person should read while the stage runs."""
        lines = []
        if self._keeps_nearly_all():
            lines.append(
                f"nearly all of the last {LATELY} pairs joined the core: the bar is out of reach; "
                "`python -m stages.suggest` says which precision is not"
            )
        if self.stalled_rounds:
            lines.append(
                f"a training round reached {self.ROUND_LIMIT}, metrics/select.json counts such rounds as stalled_rounds"
            )
        return lines

    def _keeps_nearly_all(self) -> bool:
        """Whether most pairs that the first pass tested lately were chosen."""
        if not self.rounds or self.rounds[-1].tested > self.pool:
            return False
        last = self.rounds[-1]
        first = next((each for each in reversed(self.rounds) if each.tested <= last.tested - LATELY), last)
        return last.selected - first.selected > NEARLY_ALL * (last.tested - first.tested)

    def metrics(self) -> dict[str, Any]:
        """Figures for ``metrics/select.json``: the same keys for every strategy, so that runs can be compared.

        A strategy replaces the values that stand here for what it does not do, and may add figures of its own. There is
        a bound on fresh pairs only where leaving out pairs that were never chosen would have changed nothing.
        """
        return {
            "pool": self.pool,
            "tested": self.tested,
            "selected": len(self.chosen),
            "selected_share": len(self.chosen) / self.pool,
            "certified": None,
            "passes": 1,
            "added_by_pass": {},
            "epochs": self.epochs,
            "steps": self.steps,
            "rating_epochs": 0,
            "pairs_trained": self.pairs_trained,
            "pairs_scored": self.pairs_scored,
            "stalled_rounds": self.stalled_rounds,
            "retrained": self.retrained,
            "failing": None,
            "set_aside": 0,
            "bound": None,
            "score": self.score,
            "loss": self.loss,
        }

    def verified(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of pairs whose fits by the network that is left are known, and these fits, a row a pair."""
        return np.empty(0, np.int64), np.empty((0, 0))

    def plain(self) -> dict[str, Any]:
        """The fields as JSON values, but for the arrays."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        plain = {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}
        return {**plain, "chosen": [asdict(choice) for choice in self.chosen]}

    def arrays(self) -> dict[str, np.ndarray]:
        """The fields that are arrays, by their names."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}

    def restored(self, plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """The state that `plain` and `arrays` were taken from; ``arrays`` may hold others."""
        chosen = [Choice(**choice) for choice in plain["chosen"]]
        rounds = [Round(*each) for each in plain["rounds"]]
        own = {name: arrays[name] for name in self.arrays()}
        return type(self)(**{**plain, **own, "chosen": chosen, "rounds": rounds})
