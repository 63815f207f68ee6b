"""How fast new users are registered, durably: the changelog holds a user and a monitor of each."""

from bench.report import Figure
from bench.rig import rig


def measure(quick: bool) -> list[Figure]:
    """Signups wait on the topic before the clock starts; it stops when the changelog has acknowledged everybody."""
    users = 20_000 if quick else 200_000
    with rig() as bench:
        bench.say("warming up")
        bench.sign_up(100, "1d")
        bench.wait_for_records(bench.topics.monitors_changelog, 200, 30)
        cpu_s = bench.cpu_s()
        bench.say(f"signing up {users} users")
        begun_s = bench.clock.monotonic_s()
        bench.sign_up(users, "1d")
        produced_s = bench.clock.monotonic_s() - begun_s
        bench.wait_for_records(bench.topics.monitors_changelog, 2 * users, 300)
        seconds = bench.clock.monotonic_s() - begun_s
        return [
            Figure("registrations", users / seconds, "users/s", ">= 60000"),
            Figure("registration CPU", (bench.cpu_s() - cpu_s) / users * 1e6, "CPU s per million"),
            Figure("signups produced in", produced_s, "s"),
            Figure("worker resident", bench.resident_mib(), "MiB"),
        ]
