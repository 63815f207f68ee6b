"""Results into states: a backlog of Avro results of monitors that are up, one in a hundred of which changes a state.

1,000,000 results of 100,000 monitors (quick: 400,000 of 20,000), taken in by a worker that starts on them. The
transitions topic, read at the end, must hold exactly the changes that the results mean.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.pace import pace_of
from bench.plan import Plan
from bench.population import Population, Recurring
from bench.producing import Records, Signups
from bench.report import Figure, Outcome
from bench.rig import Rig, rig
from bench.watching import per_million
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec
from everwatch.model import Result, State, Status

MONITOR = "tcp"
DAY_MS = 86_400_000
ROUND_MS = 1_000
# of each round this share goes down, and comes up again in the next: each makes two changes
ONE_IN = 200

Change = tuple[str, str, int, State]


@dataclass(frozen=True)
class Results:
    """A result of a monitor of every user in each of some rounds; round 0 brings all of them up."""

    population: Population
    rounds: range
    first_at: int
    monitor_id: str = MONITOR

    def records(self) -> Records:
        """Keys and Avro values, round by round."""
        sample = self.population.user_id(self.population.first)
        for turn in self.rounds:
            values = {fails: _value(sample, self.monitor_id, self.at(turn), fails) for fails in (False, True)}
            for number in self.population.numbers:
                user = self.population.user_id(number).encode()
                yield user, values[self.fails(number, turn)].replace(sample.encode(), user)

    def at(self, turn: int) -> int:
        """``scheduled_at`` of a round's results."""
        return self.first_at + turn * ROUND_MS

    def fails(self, number: int, turn: int) -> bool:
        """Tell whether this monitor's result is a failure in this round."""
        return turn > 0 and number % ONE_IN == turn

    def changes(self) -> Iterator[Change]:
        """Identities of all the transitions that the rounds mean: user, monitor, instant, new state."""
        for number in self.population.numbers:
            user = self.population.user_id(number)
            for turn in self.rounds:
                if self.fails(number, turn):
                    yield user, self.monitor_id, self.at(turn), State.DOWN
                elif turn == 0 or self.fails(number, turn - 1):
                    yield user, self.monitor_id, self.at(turn), State.UP


def _value(user_id: str, monitor_id: str, at: int, fails: bool) -> bytes:
    """One result; ids of all users are equally long, so another one's can take this one's place."""
    result = Result(
        user_id=user_id,
        monitor_id=monitor_id,
        scheduled_at=at,
        kind="tcp",
        version=1,
        status=Status.FAILURE if fails else Status.SUCCESS,
        reason="connection refused" if fails else "",
        started_at=at + 5,
        duration_ms=12.5,
        timings={"dns": 0.1, "connect": 12.0, "total": 12.5},
        executor="bench",
    )
    return codec.encode_result(result, OutputFormat.AVRO)


def measure(plan: Plan) -> Outcome:
    """Sign up, bring all monitors up, stop the worker, write the backlog, start the worker."""
    users, rounds = (20_000, 20) if plan.quick else (100_000, 10)
    population = Population((Recurring(MONITOR, DAY_MS),), users)
    with rig() as bench:
        topics = bench.topics
        worker = bench.start_worker()
        bench.say(f"signing up {users:,} users")
        bench.publish(topics.signups, Signups(population))
        bench.wait_taken_in(topics.signups)
        first_at = bench.clock.now_ms() + ROUND_MS
        bench.say("a first success each: everybody is up")
        bench.publish(topics.results, Results(population, range(1), first_at))
        bench.wait_taken_in(topics.results)
        bench.stop_worker(worker)
        backlog = Results(population, range(1, rounds + 1), first_at)
        bench.say(f"{users * rounds:,} results wait on the topic")
        bench.publish(topics.results, backlog)
        begin, already = bench.ends(topics.transitions), bench.taken_in(topics.results)
        wanted = already + users * rounds
        worker = bench.start_worker()
        pace = pace_of(
            bench,
            lambda: bench.taken_in(topics.results),
            lambda taken: taken >= wanted,
            "results",
            wanted,
        )
        cpu_s = worker.cpu_s()
        came = _transitions(bench, begin)
        expected = set(backlog.changes())
        return Outcome(
            [
                Figure("results through feedback", pace.rate(users * rounds), "results/s", ">= 60000"),
                Figure("results", users * rounds, "results"),
                Figure("transitions", len(came), "transitions"),
                Figure("transitions missed", len(expected - set(came)), "transitions", "<= 0"),
                Figure("transitions that should not be", len(set(came) - expected), "transitions", "<= 0"),
                Figure("transitions twice", len(came) - len(set(came)), "transitions", "<= 0"),
                Figure("refused", bench.written(topics.dead_letters), "results", "<= 0"),
                Figure("worker CPU, with the start", per_million(cpu_s, users * rounds), "CPU s per million"),
                Figure("worker resident", worker.resident_mib(), "MiB"),
            ]
        )


def _transitions(bench: Rig, begin: list[int]) -> list[Change]:
    topic = bench.topics.transitions
    found = []
    for _, record in bench.client.records(topic, begin, bench.ends(topic)):
        transition = codec.decode_transition(bytes(record.value))
        found.append((transition.user_id, transition.monitor_id, transition.at, transition.to_state))
    return found
