"""One broker for all processes of a run of tests: it runs for as long as one of them uses it, and no longer."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import shared_broker
from support.waiting import wait_until

from everwatch.kafka.embedded.address import is_free

pytestmark = pytest.mark.integration

USER = """
import sys
from pathlib import Path
from support.shared_broker import shared_broker

with shared_broker(Path(sys.argv[1])) as broker:
    print(broker.bootstrap_servers, flush=True)
    sys.stdin.read()
"""


def test_all_share_one_broker_that_ends_with_the_last_user_however_that_ends(tmp_path: Path) -> None:
    tests = Path(shared_broker.__file__).parents[1]
    with ExitStack() as stack:
        users = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", USER, str(tmp_path / "shared")],
                    cwd=tests,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(2)
        ]
        for user in users:
            stack.callback(user.kill)
        addresses = {user.stdout.readline().strip() for user in users if user.stdout is not None}
        assert len(addresses) == 1
        port = int(addresses.pop().rpartition(":")[2])
        with shared_broker.shared_broker(tmp_path / "shared") as third:
            assert third.bootstrap_servers.endswith(f":{port}")
            assert (third.folder / "data" / "meta.properties").exists()
        users[0].communicate(timeout=60)  # its input ends
        assert not is_free(port), "one user is left"
        users[1].kill()
        wait_until("the broker has ended", lambda: is_free(port), 60)
