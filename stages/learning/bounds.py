"""Bounds on the share of fresh pairs that fail: from the size of a core alone, and from a test set."""

import numpy as np
from scipy.special import betaincinv, gammaln, logsumexp


def bound_by_core(chosen: int, pool: int, confidence: float) -> float:
    """Bound the probability that a fresh pair fails, from the size of the core.

    It holds with the given confidence if the pool is a random sample, and if leaving out pairs that were never chosen
    would have changed nothing (Campi & Garatti, *Compression, Generalization and Learning*, theorem 7; for this way to
    choose Paccagnan, Campi & Garatti, *The Pick-to-Learn Algorithm Empowers Data-driven Decision Making*, 2023).

    Parameters
    ----------
    chosen : int
        Pairs that were chosen, k; those that count in the end as failures, too.
    pool : int
        Pairs that could be chosen, N.
    confidence : float
        1 − β, in (0, 1).

    Returns
    -------
    float
        The root t in (k/N, 1) of ``(β/N) Σ_{m=k}^{N−1} C(m,k) / C(N,k) · (1−t)^{−(N−m)} = 1``; 1 if all are chosen.
    """
    if chosen >= pool:
        return 1.0
    from scipy.optimize import brentq  # takes a quarter of a second, which a stage's start need not

    sizes = np.arange(chosen, pool)  # m
    weights = _log_choose(sizes, chosen) - _log_choose(pool, chosen) + np.log((1 - confidence) / pool)

    def excess(share: float) -> float:
        return float(logsumexp(weights - (pool - sizes) * np.log1p(-share)))

    highest = np.nextafter(1, 0)
    return float(brentq(excess, chosen / pool, highest, xtol=1e-12)) if excess(highest) > 0 else 1.0


def bound_by_test(failing: int, pairs: int, confidence: float) -> float:
    """Bound the probability that a fresh pair fails, from a test set (Clopper & Pearson, 1934).

    Parameters
    ----------
    failing, pairs : int
        Test pairs that fail, and test pairs in all.
    confidence : float
        Of the upper limit, in (0, 1).

    Returns
    -------
    float
        In (0, 1], where at most as many of these test pairs fail with a probability of 1 − ``confidence``.
    """
    return float(betaincinv(failing + 1, pairs - failing, confidence)) if failing < pairs else 1.0


def _log_choose(total: np.ndarray | int, part: int) -> np.ndarray:
    return np.asarray(gammaln(np.add(total, 1)) - gammaln(part + 1) - gammaln(np.subtract(total, part) + 1))
