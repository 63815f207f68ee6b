"""A backup of Uptime Kuma (Settings, Backup, Export: JSON with ``monitorList``) as monitors.

Fields as ``Monitor.toJSON`` of Uptime Kuma 1.x and 2.x writes them; intervals there are seconds.
"""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import orjson

from everwatch.core.errors import InvalidInput
from everwatch.transfer.foreign_source import Found, Lost, number_of, seconds, text_of

MOST_RETRIES = 20
CERTIFICATE_DAYS = 7
_PUSH = "its job must report by a signal (everwatch signal, or the topic signals) in place of its push URL"


def monitors_of(document: Any, lost: list[Lost]) -> Iterator[Found]:
    """The monitors of a backup. Raises InvalidInput if it is none."""
    listed = document.get("monitorList") if isinstance(document, dict) else None
    if isinstance(listed, dict):
        listed = list(listed.values())
    if not isinstance(listed, list):
        raise InvalidInput("this is no backup of Uptime Kuma: it has no monitorList")
    for name, what in (("notificationList", "notifications"), ("proxyList", "proxies")):
        if given := document.get(name):
            lost.append(Lost("", f"{len(given)} {what} are not imported"))
    for given in listed:
        if isinstance(given, dict):
            yield _found(given)
        else:
            lost.append(Lost("", "an entry of monitorList is no object", is_left_out=True))


def _found(given: dict[str, Any]) -> Found:
    kind = text_of(given, "type")
    found = Found(text_of(given, "name") or f"{kind} {given.get('id', '')}".strip())
    make = _KINDS.get(kind)
    if make is None:
        found.lost.append(f"there is no kind of monitor like {kind!r}")
    elif given.get("active") in (False, 0):
        found.lost.append("it is paused there, and a signup cannot say so: put it and pause it by command")
    elif given.get("upsideDown"):
        found.lost.append("upside down mode (up while it fails) has no counterpart")
    else:
        made = make(given, found.lost)
        if made is not None:
            found.monitor = made | {"policy": _policy(given, found.lost)}
            if kind != "push":
                found.monitor["schedule"] = {"every": seconds(number_of(given, "interval") or 60)}
            _note_rest(given, found.lost)
    return found


def _policy(given: dict[str, Any], lost: list[str]) -> dict[str, Any]:
    policy: dict[str, Any] = {}
    interval = number_of(given, "interval") or 60
    if text_of(given, "type") != "push":
        retries = int(number_of(given, "maxretries"))
        if retries > MOST_RETRIES:
            lost.append(f"{retries} retries became {MOST_RETRIES}, the most that there are")
        if retries:
            pause = seconds(max(1.0, number_of(given, "retryInterval") or interval))
            policy["retries"] = {
                "max": min(retries, MOST_RETRIES), "backoff": "fixed", "base": pause, "cap": pause, "jitter": 0,
            }  # fmt: skip
        # older versions have no timeout of their own and give up after 80 % of the interval
        policy["timeout"] = seconds(min(number_of(given, "timeout") or 0.8 * interval, 600))
    if resend := number_of(given, "resendInterval"):
        policy["remind_every"] = seconds(max(60.0, resend * interval))
    return policy


def _note_rest(given: dict[str, Any], lost: list[str]) -> None:
    if given.get("proxyId"):
        lost.append("its proxy is not used")
    if given.get("tags"):
        lost.append("its tags are not kept")
    if given.get("parent"):
        lost.append("its group is not kept")
    if given.get("notificationIDList"):
        lost.append("its notifications are not kept")


def _http(given: dict[str, Any], lost: list[str]) -> dict[str, Any] | None:
    method = text_of(given, "authMethod") or text_of(given, "auth_method")
    if method not in ("", "basic", "null"):
        lost.append(f"authentication by {method} has no counterpart")
        return None
    config: dict[str, Any] = {"url": text_of(given, "url"), "method": (text_of(given, "method") or "GET").upper()}
    try:
        headers = orjson.loads(text_of(given, "headers") or "{}")
    except orjson.JSONDecodeError:
        headers = None
    if not isinstance(headers, dict):
        lost.append("its headers are no JSON object and were left out")
    elif headers:
        config["headers"] = {str(name): str(value) for name, value in headers.items()}
    if body := text_of(given, "body"):
        config["body"] = body
        encoding = text_of(given, "httpBodyEncoding") or "json"
        media_type = {"json": "application/json", "xml": "text/xml; charset=utf-8"}.get(encoding)
        if media_type and "content-type" not in {name.lower() for name in config.get("headers", {})}:
            config["headers"] = config.get("headers", {}) | {"Content-Type": media_type}
    if user := text_of(given, "basic_auth_user"):
        config["basic_auth"] = {"user": user, "password": str(given.get("basic_auth_pass") or "")}
    if accepted := given.get("accepted_statuscodes"):
        config["expected_status"] = accepted
    if given.get("ignoreTls"):
        config["verify_tls"] = False
    if given.get("maxredirects") == 0:
        config["follow_redirects"] = False
    elif given.get("maxredirects") not in (None, 10):
        lost.append(f"at most {given['maxredirects']} redirects became at most 10")
    if given.get("expiryNotification") and urlsplit(config["url"]).scheme == "https":
        config["certificate_days_left"] = CERTIFICATE_DAYS
        lost.append(f"the warning before a certificate expires became a failure from {CERTIFICATE_DAYS} days on")
    return {"kind": "http", "config": config}


def _keyword(given: dict[str, Any], lost: list[str]) -> dict[str, Any] | None:
    made = _http(given, lost)
    if made is not None:
        name = "body_not_contains" if given.get("invertKeyword") else "body_contains"
        made["config"][name] = given.get("keyword") or ""
    return made


def _port(given: dict[str, Any], _: list[str]) -> dict[str, Any]:
    return {"kind": "tcp", "config": {"host": text_of(given, "hostname"), "port": int(number_of(given, "port"))}}


def _dns(given: dict[str, Any], lost: list[str]) -> dict[str, Any]:
    config: dict[str, Any] = {"name": text_of(given, "hostname"), "type": text_of(given, "dns_resolve_type") or "A"}
    servers = [each.strip() for each in text_of(given, "dns_resolve_server").split(",") if each.strip()]
    if servers:
        port = int(number_of(given, "port"))
        host = f"[{servers[0]}]" if ":" in servers[0] and port not in (0, 53) else servers[0]
        config["server"] = host if port in (0, 53) else f"{host}:{port}"
    if len(servers) > 1:
        lost.append(f"of its {len(servers)} name servers only {servers[0]} is asked")
    return {"kind": "dns", "config": config}


def _push(given: dict[str, Any], lost: list[str]) -> dict[str, Any]:
    lost.append(_PUSH)
    interval = number_of(given, "interval") or 60
    grace = int(number_of(given, "maxretries")) * (number_of(given, "retryInterval") or interval)
    return {"kind": "heartbeat", "config": {"period": seconds(interval), "grace": seconds(grace) if grace else "1s"}}


_KINDS: dict[str, Callable[[dict[str, Any], list[str]], dict[str, Any] | None]] = {
    "http": _http,
    "keyword": _keyword,
    "port": _port,
    "dns": _dns,
    "push": _push,
}
