"""Exports of Uptime Kuma and Healthchecks: what their monitors become, and what is said to have no counterpart."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from everwatch.core.errors import SettingsError
from everwatch.rules.admission import admit_signup
from everwatch.transfer import healthchecks, uptime_kuma
from everwatch.transfer.foreign_source import Convert, ForeignSource, Lost
from everwatch.transfer.import_rows import RowReading
from everwatch.transfer.row_files import FileSource


def taken(folder: Path, document: Any, convert: Convert) -> tuple[list[dict[str, Any]], list[Lost]]:
    """The monitors of a document, as the worker would admit them, and what was lost."""
    file = folder / "export.json"
    file.write_bytes(document if isinstance(document, bytes) else orjson.dumps(document))
    source = ForeignSource(FileSource(str(file), None, RowReading()), convert, "acme", "pro")
    [row] = source.rows()
    signup = orjson.loads(row.value)
    admitted = admit_signup(row.value)
    assert (admitted.user_id, admitted.plan, len(admitted.monitors)) == ("acme", "pro", len(signup["monitors"]))
    return signup["monitors"], source.lost


def kuma(**fields: Any) -> dict[str, Any]:
    """A monitor as a backup of 1.x has it."""
    usual = {
        "id": 1, "name": "Shop", "url": "https://shop.example/", "method": "GET", "hostname": None, "port": None,
        "maxretries": 0, "weight": 2000, "active": True, "type": "http", "interval": 60, "retryInterval": 60,
        "resendInterval": 0, "keyword": None, "expiryNotification": False, "ignoreTls": False, "upsideDown": False,
        "maxredirects": 10, "accepted_statuscodes": ["200-299"], "dns_resolve_type": "A",
        "dns_resolve_server": "1.1.1.1", "proxyId": None, "notificationIDList": {}, "tags": [], "headers": None,
        "body": None, "basic_auth_user": None, "basic_auth_pass": None, "pushToken": None,
    }  # fmt: skip
    return usual | fields


def backup(*monitors: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"version": "1.23.1", "notificationList": [], "monitorList": list(monitors)} | more


@pytest.mark.parametrize(
    ("given", "kind", "config"),
    [
        ({}, "http", {"url": "https://shop.example/", "method": "GET", "expected_status": ["200-299"]}),
        (
            {"type": "keyword", "keyword": "ok", "headers": '{"X-A": "b"}', "ignoreTls": True, "maxredirects": 0},
            "http",
            {"body_contains": "ok", "headers": {"X-A": "b"}, "verify_tls": False, "follow_redirects": False},
        ),
        (
            {"method": "POST", "body": '{"a": 1}', "basic_auth_user": "u", "basic_auth_pass": "p"},
            "http",
            {"body": '{"a": 1}', "headers": {"Content-Type": "application/json"},
             "basic_auth": {"user": "u", "password": "p"}},
        ),
        ({"expiryNotification": True}, "http", {"certificate_days_left": 7}),
        ({"type": "port", "hostname": "db.example", "port": 5432}, "tcp", {"host": "db.example", "port": 5432}),
        (
            {"type": "dns", "hostname": "shop.example", "dns_resolve_type": "MX", "port": 5353},
            "dns",
            {"name": "shop.example", "type": "MX", "server": "1.1.1.1:5353"},
        ),
        ({"type": "push", "interval": 3600, "maxretries": 2}, "heartbeat", {"period": "3600s", "grace": "120s"}),
    ],
)  # fmt: skip
def test_a_monitor_of_uptime_kuma_becomes_one_of_ours(
    tmp_path: Path, given: dict[str, Any], kind: str, config: dict[str, Any]
) -> None:
    [monitor], _ = taken(tmp_path, backup(kuma(**given)), uptime_kuma.monitors_of)
    assert (monitor["monitor_id"], monitor["kind"]) == ("Shop", kind)
    assert {name: monitor["config"].get(name) for name in config} == config


def test_intervals_retries_timeouts_and_reminders_are_taken_over(tmp_path: Path) -> None:
    given = kuma(interval=20, maxretries=3, retryInterval=5, resendInterval=9, timeout=16)
    [monitor], lost = taken(tmp_path, backup(given), uptime_kuma.monitors_of)
    assert monitor["schedule"] == {"every": "20s"}
    assert monitor["policy"] == {
        "retries": {"max": 3, "backoff": "fixed", "base": "5s", "cap": "5s", "jitter": 0},
        "timeout": "16s",
        "remind_every": "180s",
    }
    assert lost == []


def test_what_has_no_counterpart_is_reported_and_what_cannot_be_kept_right_is_left_out(tmp_path: Path) -> None:
    document = backup(
        kuma(name="Ping", type="ping"),
        kuma(name="Docker", type="docker"),
        kuma(name="Reverse", upsideDown=True),
        kuma(name="Paused", active=False),
        kuma(name="NTLM", authMethod="ntlm"),
        kuma(name="Wrong", url="ftp://x"),
        kuma(name="Kept", proxyId=1, tags=[{"name": "a"}], notificationIDList={"1": True}, parent=7, maxredirects=3),
        notificationList=[{"name": "mail"}],
        proxyList=[{}, {}],
    )
    [kept], lost = taken(tmp_path, document, uptime_kuma.monitors_of)
    assert kept["monitor_id"] == "Kept"
    assert [each.monitor for each in lost if each.is_left_out] == [
        "Ping", "Docker", "Reverse", "Paused", "NTLM", "Wrong",
    ]  # fmt: skip
    assert next(each.what for each in lost if each.monitor == "Wrong").startswith("Everwatch refuses it: ")
    assert [each.what for each in lost if not each.monitor] == [
        "1 notifications are not imported",
        "2 proxies are not imported",
    ]
    assert [each.what for each in lost if each.monitor == "Kept"] == [
        "at most 3 redirects became at most 10",
        "its proxy is not used",
        "its tags are not kept",
        "its group is not kept",
        "its notifications are not kept",
    ]


def test_monitors_of_one_name_get_ids_of_their_own_the_same_each_time(tmp_path: Path) -> None:
    document = backup(kuma(), kuma(), kuma(name="Größe / 1"), kuma(name="\u202e"), kuma(name=""))
    first, _ = taken(tmp_path, document, uptime_kuma.monitors_of)
    assert [each["monitor_id"] for each in first] == ["Shop", "Shop-2", "Größe-1", "u202e", "http-1"]
    assert taken(tmp_path, document, uptime_kuma.monitors_of)[0] == first


def check(**fields: Any) -> dict[str, Any]:
    """A check as the API of Healthchecks lists it."""
    usual = {
        "name": "Backups", "slug": "backups", "tags": "prod www", "desc": "", "grace": 900, "n_pings": 1,
        "status": "up", "last_ping": None, "next_ping": None, "manual_resume": False, "methods": "",
        "ping_url": "https://hc-ping.com/31365bce-8da9-4729-8ff3-aaa71d56b712", "channels": "1bdea674",
        "timeout": 86400,
    }  # fmt: skip
    return usual | fields


def test_checks_of_healthchecks_become_heartbeats(tmp_path: Path) -> None:
    monitors, lost = taken(
        tmp_path, {"checks": [check(), check(slug="", name="Nightly job", tags="")]}, healthchecks.monitors_of
    )
    assert [(each["monitor_id"], each["kind"], each["config"]) for each in monitors] == [
        ("backups", "heartbeat", {"period": "86400s", "grace": "900s", "max_duration": "900s"}),
        ("Nightly-job", "heartbeat", {"period": "86400s", "grace": "900s", "max_duration": "900s"}),
    ]
    assert [each.what for each in lost if each.monitor == "backups"] == [
        "its job must report by a signal (everwatch signal, or the topic signals) in place of its ping URL",
        "its integrations are not kept",
        "its tags are not kept",
    ]


def test_checks_that_cannot_be_kept_right_are_left_out_with_the_reason(tmp_path: Path) -> None:
    calendar = by_cron(slug="calendar", schedule="Mon..Fri 04:05")
    nowhere = by_cron(slug="nowhere", tz="Mars/Olympus")
    keyless = check(slug="keyless")
    del keyless["timeout"]
    monitors, lost = taken(
        tmp_path, [calendar, nowhere, keyless, check(slug="off", status="paused"), 7], healthchecks.monitors_of
    )
    assert monitors == []
    assert [(each.monitor, each.is_left_out) for each in lost] == [
        ("calendar", True), ("nowhere", True), ("keyless", True), ("off", True), ("", True),
    ]  # fmt: skip
    told = {each.monitor: each.what for each in lost}
    assert told["calendar"].startswith("it is expected by the schedule 'Mon..Fri 04:05', which is no cron expression")
    assert told["nowhere"].startswith("Everwatch refuses it: there is no time zone 'Mars/Olympus'")


def by_cron(**fields: Any) -> dict[str, Any]:
    """A check that is expected by a cron schedule: the API gives no timeout then."""
    given = check(**{"schedule": "5 4 * * MON-FRI", "tz": "Europe/Berlin"} | fields)
    del given["timeout"]
    return given


def test_a_check_with_a_cron_schedule_is_expected_by_that_schedule_in_its_time_zone(tmp_path: Path) -> None:
    monitors, lost = taken(
        tmp_path, [by_cron(), by_cron(slug="utc", schedule="@daily", tz="")], healthchecks.monitors_of
    )
    assert [each["config"] for each in monitors] == [
        {"cron": "5 4 * * MON-FRI", "timezone": "Europe/Berlin", "grace": "900s", "max_duration": "900s"},
        {"cron": "@daily", "timezone": "UTC", "grace": "900s", "max_duration": "900s"},
    ]
    assert not any(each.is_left_out for each in lost)


@pytest.mark.parametrize(
    ("document", "convert", "told"),
    [
        (b"{", uptime_kuma.monitors_of, "export.json is not valid JSON: "),
        (b"[]", uptime_kuma.monitors_of, "export.json: this is no backup of Uptime Kuma: it has no monitorList."),
        (b"{}", healthchecks.monitors_of, "export.json: this is no export of Healthchecks: it has no list of checks."),
    ],
)
def test_another_document_is_told_in_one_sentence(tmp_path: Path, document: bytes, convert: Convert, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        taken(tmp_path, document, convert)
    assert told in str(caught.value)
