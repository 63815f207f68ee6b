"""Debian's chromium, driven by Playwright; its own browsers are not downloaded."""

import shutil
from typing import Any

from everwatch.api.permissions import Role
from support.api import Api

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--font-render-hinting=none"]


def chromium() -> str | None:
    """Return where the browser is; None if it is not installed (``apt-get install chromium``)."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def session_cookie(running: Api, role: Role, user_id: str = "", **more: Any) -> Any:
    """The cookie of somebody who is signed in, for ``context.add_cookies``."""
    name, _, value = running.session_of(role, user_id, **more).partition("=")
    return {"name": name, "value": value, "url": running.url, "httpOnly": True, "sameSite": "Strict"}
