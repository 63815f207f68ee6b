"""Cost of transactions: workers with and without fencing alternate in one run."""

from collections.abc import Callable

from bench.report import Figure, Outcome, Peer, medians
from bench.rig import Rig

UNFENCED = "without fencing"
MOST_LOSS = "<= 15"

Measure = Callable[[Rig, bool], list[Figure]]


def in_turns(bench: Rig, turns: int, measure: Measure) -> Outcome:
    """Medians of ``measure(topics of its own, is_fenced)``; those of workers without fencing as a peer's.

    The two swap places from turn to turn, so that neither is always the one that finds the broker warm.
    """
    outcomes = []
    for turn in range(1, turns + 1):
        found = {}
        for is_fenced in (True, False) if turn % 2 else (False, True):
            name = f"{'fenced' if is_fenced else 'unfenced'}-{turn}"
            bench.say(f"{name} of {turns}")
            found[is_fenced] = measure(bench.beside(name), is_fenced)
        outcomes.append(Outcome(found[True], [Peer(UNFENCED, found[False])]))
    return medians(outcomes)


def loss(outcome: Outcome, name: str) -> Figure:
    """By how much fencing lowers a rate, %."""
    fenced, unfenced = _both(outcome, name)
    return Figure(f"{name}, lost by fencing", 100 * (1 - fenced / unfenced), "%", MOST_LOSS)


def surcharge(outcome: Outcome, name: str) -> Figure:
    """By how much fencing raises a cost, %."""
    fenced, unfenced = _both(outcome, name)
    return Figure(f"{name}, added by fencing", 100 * (fenced / unfenced - 1), "%")


def _both(outcome: Outcome, name: str) -> tuple[float, float]:
    """A figure with and without fencing."""
    (peer,) = outcome.peers
    fenced, unfenced = (next(f.value for f in figures if f.name == name) for figures in (outcome.figures, peer.figures))
    return fenced, unfenced
