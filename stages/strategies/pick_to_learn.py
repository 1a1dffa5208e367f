"""Pick-to-Learn (Paccagnan, Campi & Garatti, 2023): failures join the core until every other pair passes.

The pool is scanned until a few pairs fail; these join the core and are learnt in small steps, each together with pairs
drawn again from the core. The end is certified twice: every pair outside the core passed under the network that is
left, and by a theorem few fresh pairs fail (see learning/bounds.py). For the theorem, leaving out pairs that were
never chosen must change nothing: neither the core, nor its order, nor a weight. So training does not depend on how
many pairs passed, draws depend on the core and the step alone, and the learner verifies pairs in full batches, so that
the bits of a score do not depend on the pairs around it.

With ``select.on_suspect`` a pair that fails far below the bar is set aside: it does not join the core, and each network
to come tests it again. A right mask comes back as the network grows better, a wrong one stays. What is set aside in the
end fails: it counts as chosen in the bound, and the certificate is about the others.
"""

from collections.abc import Iterator

import numpy as np
from pydantic import Field

from stages.learning.protocol import PREDICTION_BATCH, STATISTICS, Learner
from stages.pairs.tables import Choice
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import INT_MAX, Section
from stages.strategies.shared.picks import Picks
from stages.strategies.shared.replay import draw, replay, retrain
from stages.strategies.shared.state import Round
from stages.strategies.shared.strategy import Pool, Settings

MEMORY = 0.9  # of the running mean of the scores in training: about ten steps


class Options(Section):
    """How failures are picked and learnt."""

    failures: int = Field(ge=1, le=INT_MAX, description="failing pairs that join the core before the next round")
    replay_size: int = Field(
        ge=2, le=65536, description="pairs of a training step: new ones, the others drawn from the core"
    )
    half_rate_at: int = Field(
        ge=1,
        le=INT_MAX,
        description="pairs of the core, c, for half the learning rate; at k pairs it is 1 / (1 + k / c)",
    )
    max_steps: int = Field(ge=1, le=INT_MAX, description="most training steps of a round")
    max_passes: int = Field(
        ge=1, le=INT_MAX, description="most passes through the pool; each but the first ends once failures were learnt"
    )


def start(pool: Pool, settings: Settings) -> Picks:
    """A choice from an earlier core, or else from the seed pairs.

    Raises
    ------
    UserError
        If the earlier core is another strategy's: for the bound, leaving out pairs has to change nothing there, either.
    """
    if pool.strategy not in (None, "pick_to_learn"):
        raise UserError(f"select.start_from names a core of {pool.strategy}, allowed is one of pick_to_learn")
    chosen = [*pool.core] or [Choice(position, None) for position in range(settings.seeds)]
    return Picks(
        pool.size,
        chosen,
        tested=len(chosen),
        seeds=sum(choice.score is None for choice in chosen),
        confidence=settings.confidence,
        suspect_below=settings.suspect_below,
        running=settings.precision,
        core_before=len(chosen),
    )


def choose(learner: Learner, state: Picks, settings: Settings) -> Iterator[Picks]:
    """Scan until a few pairs fail, learn these, and so on until every pair outside the core passes one network.

    With ``select.retrain`` a fresh network on that core goes on in the same way, and is the one that is certified.
    """
    yield from pick(learner, state, settings)
    if settings.retrain and not state.fresh:
        yield from retrain(learner, state, settings, settings.options.replay_size, rate_of(state, settings))
        state.number += 1
        state.fresh, state.counting, state.failing, state.certified = True, False, [], None
        state.passes_before, state.running = state.passes, settings.precision
        learner.estimate(draw(state, settings, STATISTICS))
        yield from pick(learner, state, settings)


def pick(learner: Learner, state: Picks, settings: Settings) -> Iterator[Picks]:
    """Go through the pool until every pair outside the core passes or is set aside, or the passes are over."""
    while state.certified is None:
        if state.learning:
            learn(learner, state, settings)
        elif state.queue.size:
            scan(learner, state, settings)
        else:
            begin_pass(state, settings)
        yield state


def begin_pass(state: Picks, settings: Settings) -> None:
    """Queue the pairs that the present network has not been tested with; the end, if there are none.

    The first pass goes in the pool's order, a later one begins with the lowest scores, and among equal ones with the
    predictions that were least close: a pair's place by its own last prediction does not depend on other pairs. There
    most failures are, so that a later pass ends with the first round: the next one looks there again before it tests
    thousands of others.
    """
    if len(state.added) < state.passes:
        state.added.append(len(state.chosen) - state.core_before)
    if state.counting:
        state.certified = not state.failing
        return
    left = np.setdiff1d(np.flatnonzero(state.tested_with != state.number), state.positions)
    if not left.size:
        state.certified = True
        return
    state.counting = state.passes - state.passes_before >= settings.options.max_passes
    state.passes += not state.counting
    state.core_before = len(state.chosen)
    state.queue = left[np.lexsort((left, state.closeness[left], state.scores[left]))]


def scan(learner: Learner, state: Picks, settings: Settings) -> None:
    """Test the next pairs, up to the failure that makes a round due; the scores behind it are thrown away."""
    learner.expect(state.queue)
    block = state.queue[:PREDICTION_BATCH]
    scores, closeness, _, fits = learner.verify(block)
    state.pairs_scored += len(block)
    # What fails worse than that is a wrong mask, or a right one that the network is not good enough for yet.
    failures = np.flatnonzero((scores < settings.bar) & (scores >= settings.suspect_below))
    room = len(block) if state.counting else settings.options.failures - len(state.failed)
    count = int(failures[room - 1]) + 1 if len(failures) >= room else len(block)
    tested = block[:count]
    state.scores[tested] = scores[:count]
    state.closeness[tested] = closeness[:count]
    if not state.fits.size:
        state.fits = np.empty((state.pool, fits.shape[1]))
    state.fits[tested] = fits[:count]
    state.tested_with[tested] = state.number
    state.queue = state.queue[count:]
    state.walked += count
    state.tested += count if state.passes == 1 and not state.counting else 0
    found = block[failures[:room]].tolist()
    if state.counting:
        state.failing += found
        return
    state.chosen += [Choice(position, float(state.scores[position])) for position in found]
    state.failed += found
    state.learning = len(state.failed) == settings.options.failures or (bool(state.failed) and not state.queue.size)


def learn(learner: Learner, state: Picks, settings: Settings) -> None:
    """One training step on the new pairs and on a draw of the others; it ends the round once the new ones pass."""
    epoch = replay(learner, state, settings, state.failed, settings.options.replay_size, rate_of(state, settings))
    state.round_steps += 1
    state.running = MEMORY * state.running + (1 - MEMORY) * epoch.score
    for choice in state.chosen[-len(state.failed) :]:
        choice.epochs += 1
    learnt = state.running > settings.precision and bool((learner.score(state.failed) >= settings.bar).all())
    if learnt or state.round_steps >= settings.options.max_steps:
        state.stalled_rounds += not learnt
        state.number += 1
        state.learning, state.failed, state.round_steps = False, [], 0
        if state.passes > 1:
            state.queue = state.queue[:0]
        rounds = Round(state.seeds + state.walked, len(state.chosen), state.running, state.loss, state.steps)
        state.rounds.append(rounds)
        learner.estimate(draw(state, settings, STATISTICS))


def rate_of(state: Picks, settings: Settings) -> float:
    """Share of the learning rate that is left: in small steps fewer pairs fail by accident."""
    half_rate_at: int = settings.options.half_rate_at
    return 1 / (1 + len(state.chosen) / half_rate_at)
