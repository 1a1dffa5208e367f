"""How well `triage` finds failures, told by the test set of this project's last run, whose masks are known.

The area under the curve: how often a pair that fails is ranked before one that does not; .5 is what chance gives.
"""

import json
from pathlib import Path

import numpy as np
from scipy.special import entr
from sklearn.metrics import roc_auc_score

from stages.learning.measures import expected_ious
from stages.learning.predictor import Predictor
from stages.learning.saving import load_network
from stages.learning.scores import PixelCounts, tiered_iou
from stages.pairs.read import Pairs

TOGETHER = 100


def measure() -> list[str]:
    test = Pairs(Path("data/test.zarr"))
    predictor = Predictor(load_network(Path("models/core.keras")), test)
    bar = json.loads(Path("metrics/evaluate.json").read_text())["bar"]
    fails, expected, uncertain = [], [], []
    for start in range(0, len(test), TOGETHER):
        positions = range(start, min(start + TOGETHER, len(test)))
        masks = test.read(positions).targets
        predicted = predictor.predict(positions)
        given = predicted[..., 0].astype(np.float64)
        found, true = given > 0.5, masks[..., 0] > 0
        kinds = (found & true, found & ~true, ~found & true, ~found & ~true)
        fails.append(tiered_iou(PixelCounts(*(kind.sum(axis=(1, 2)) for kind in kinds))) < bar)
        expected.append(expected_ious(predicted).numpy()[:, 0])
        uncertain.append((entr(given) + entr(1 - given)).mean(axis=(1, 2)))
    failing = np.concatenate(fails)
    if failing.all() or not failing.any():
        return [f"| triage: {failing.sum()} of {len(test)} test pairs fail, so that nothing is to rank | | | |"]
    by_entropy, by_score = (
        roc_auc_score(failing, ranking) for ranking in (np.concatenate(uncertain), -np.concatenate(expected))
    )
    return [
        f"| area under the curve of triage, {failing.sum()} of {len(test)} test pairs fail; plain: mean entropy "
        f"| {by_entropy:.3f} | {by_score:.3f} | {by_score / by_entropy:.2f}× |"
    ]
