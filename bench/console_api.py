"""An API that serves the console, as a process: started, killed, started again at the same port."""

import re
from types import TracebackType
from typing import Any, Self

from bench.errors import Unmeasured
from bench.rig import Rig
from bench.worker import Worker

READY_WITHIN_S = 60.0
_TOKEN = re.compile(r"^Token of an administrator, for this run: (\S+)", re.MULTILINE)


class ConsoleProcess:
    """``everwatch api`` on a database and a rig's Kafka, at ``url``."""

    def __init__(self, bench: Rig, database: str, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._bench = bench
        self._database = database
        self._port = port
        self._token = ""
        self._starts = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    def start(self) -> None:
        """Start it and wait until it serves."""
        self._starts += 1
        self._process = Worker(
            f"api-{self._port}-{self._starts}",
            self._bench.folder,
            self._bench.bootstrap_servers,
            ("api", "--port", str(self._port)),
            # one token asks for all tabs of a browser, faster than a person
            {"EVERWATCH_DATABASE": self._database, "EVERWATCH_API_REQUESTS_PER_MIN": "0"},
        )
        self._bench.wait_until(self._serves, "the API serves", READY_WITHIN_S, look_s=0.02)

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self._process.kill()

    def sign_in(self, context: Any) -> None:
        """Begin a session in a browser, by a token that outlives this process."""
        if not self._token:
            found = _TOKEN.search(self._process.log.read_text())
            if found is None:
                raise Unmeasured("The API printed no token of an administrator.")
            headers = {"Authorization": f"Bearer {found[1]}"}
            body = {"name": "bench", "role": "admin"}
            made = context.request.post(f"{self.url}/v1/tokens", data=body, headers=headers)
            if not made.ok:
                raise Unmeasured(f"The API made no token: {made.text()}")
            self._token = made.json()["token"]
        headers = {"X-Everwatch-Console": "1", "Origin": self.url}
        answer = context.request.post(f"{self.url}/login", data={"token": self._token}, headers=headers)
        if not answer.ok:
            raise Unmeasured(f"The API began no session: {answer.text()}")

    def _serves(self) -> bool:
        self._process.check()
        return "API: " in self._process.log.read_text(errors="replace")
