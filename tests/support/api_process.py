"""An API process beside a pipeline, and sessions with an administrator's token."""

import re

import requests

from support.pipeline import Pipeline, Process
from support.waiting import PATIENCE, wait_until

TOKEN = "a token of the tests, long enough to be one"
ANSWERED_WITHIN_S = 10 * PATIENCE
"""Seconds within which every request is answered, whatever is away: the API's deadline, on a machine that is slow."""


def started_api(pipeline: Pipeline, name: str = "api") -> tuple[Process, str]:
    """An API process on a free port, and its address."""
    environment = pipeline.environment | {"EVERWATCH_API_ADMIN_TOKEN": TOKEN, "EVERWATCH_API_PORT": "0"}
    process = Process("api", environment, pipeline.settings.data_dir / f"{name}.log")

    def address() -> str | None:
        assert process.runs, process.logged()
        found = re.search(r"^API: (\S+)$", process.logged(), re.MULTILINE)
        return found[1] if found else None

    return process, wait_until("the API serves", address, 60) or ""


class ApiSession:
    """Requests to one API process; each is answered within ``ANSWERED_WITHIN_S``, or the test fails."""

    def __init__(self, address: str, token: str = TOKEN) -> None:
        self._address = address
        self._http = requests.Session()
        self._http.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> requests.Response:
        """Send a request; ``headers``: with _ for -."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        wait = int(headers.get("Prefer", "wait=0").removeprefix("wait="))
        return self._http.request(
            method, self._address + path, json=body, headers=given, timeout=ANSWERED_WITHIN_S + wait
        )
