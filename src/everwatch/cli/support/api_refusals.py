"""Refusals of what the HTTP API does not do, each with its reason."""

from everwatch.core.errors import SettingsError

_WHY_NOT = {
    "backup": "it copies topics and the database whole",
    "restore": "it fills topics and a database that no process uses yet",
    "repartition": "it copies all topics, and stops what works on them",
}


def command_not_by_api(name: str) -> SettingsError:
    """Return what to say of a whole command that the API does not do."""
    return not_by_api(f"'everwatch {name}'", _WHY_NOT.get(name, ""))


def not_by_api(what: str, why: str = "") -> SettingsError:
    """Return what to say of something that the API does not do, and why it does not."""
    because = f" ({why})" if why else ""
    return SettingsError(
        f"{what} takes Kafka or the database itself{because}: omit --api and EVERWATCH_API_URL, and run it where"
        " they are."
    )
