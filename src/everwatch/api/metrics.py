"""Metrics of the API."""

from math import nan

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("everwatch_api_requests", "Requests answered, by route and status.", ["route", "status"])
SECONDS = Histogram(
    "everwatch_api_request_seconds",
    "Seconds from the request's headers to its answer, by route.",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
IN_FLIGHT = Gauge("everwatch_api_requests_in_flight", "Requests that are being answered.")
FAILURES = Counter("everwatch_api_failures", "Requests that failed because of a bug in Everwatch, by route.", ["route"])
AUDIT_LOST = Counter("everwatch_api_audit_entries_lost", "Changes whose audit log entry could not be sent.")
LOGINS = Counter("everwatch_api_logins", "Logins to the console, by method and outcome.", ["method", "outcome"])
SLOW_CLIENTS = Counter("everwatch_api_slow_clients", "Connections closed because no whole request came in time.")
BACKUP = Gauge(
    "everwatch_backup_completed_timestamp_seconds",
    "Unix time at which the newest backup in EVERWATCH_BACKUP_DIR was completed; 0: there is none, NaN: none is set.",
)
# an age of decades would raise an alert where no backups are made in this way
BACKUP.set(nan)
