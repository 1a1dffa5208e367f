"""A guess at the size of a core, from how the share of failing pairs falls as a network learns more pairs."""

import math

LEAST = 0.5  # failing pairs that are assumed where none was found: so few were looked at


def forecast_core(learnt: tuple[int, int], failing: tuple[int, int], looked_at: int, pool: int) -> int:
    """Guess how many pairs a walk chooses.

    Of the pairs that a core of k pairs leaves, a share a · k^(−b) is taken to fail, a power law as learning curves
    mostly are (Hestness et al., *Deep Learning Scaling is Predictable, Empirically*, 2017). A walk that tests n pairs
    then chooses dk/dn = a · k^(−b), so that a pool of N pairs leaves it with k = ((1 + b) · a · N)^(1 / (1 + b)).

    Parameters
    ----------
    learnt : tuple of int
        Pairs that a network had learnt at two moments, the second more than the first.
    failing : tuple of int
        Pairs that failed then, of some that it had not learnt.
    looked_at : int
        Number of these.
    pool : int
        Pairs of the pool.

    Returns
    -------
    int
        Pairs of the core, at most the pool.
    """
    first, second = (max(LEAST, count) / looked_at for count in failing)
    # A share that falls faster than in proportion, or not at all, is mostly chance in so few pairs.
    power = min(1.0, max(0.0, math.log(first / second) / math.log(learnt[1] / learnt[0])))
    factor = second * learnt[1] ** power
    size: float = ((1 + power) * factor * pool) ** (1 / (1 + power))
    return min(pool, max(1, round(size)))
