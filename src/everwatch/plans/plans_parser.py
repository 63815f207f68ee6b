"""A TOML file -> plans. Everything that can be judged without a user is judged here, once, when the file is read."""

import os
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import orjson

from everwatch.core.bounds import Weight
from everwatch.core.config import MOST_DAYS
from everwatch.core.errors import InvalidInput, SettingsError, WrongPlans
from everwatch.encoding import codec, input_conversion, input_models
from everwatch.kinds import registry
from everwatch.model import Every, Quorum
from everwatch.plans.placeholders import ID_NAME, PLAN_NAME, Object, PlaceholderUser, compiled, texts_of
from everwatch.plans.plan import Plan, PlanMonitor, PlanQuotas, Plans, spec_of
from everwatch.rules.admission import admit_monitor
from everwatch.schedule.duration import parse_duration_ms

LARGEST_FILE_BYTES = 4 * 1024 * 1024
MOST_QUOTA = 1_000_000


Days = Annotated[int, msgspec.Meta(ge=0, le=MOST_DAYS)]


class _KeepInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Days for which the database keeps a user's rows; 0: forever; left out: as the settings say."""

    results: Days | None = None
    every_result: Days | None = None
    transitions: Days | None = None
    history: Days | None = None
    tasks: Days | None = None
    hourly_rollups: Days | None = None
    daily_rollups: Days | None = None
    dead_letters: Days | None = None
    replies: Days | None = None


class _PlanInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    max_monitors: Annotated[int, msgspec.Meta(ge=0, le=MOST_QUOTA)] | None = None
    shortest_interval: input_models.Duration | None = None
    weight: Weight = 1
    regions: input_models.Regions = []
    quorum: Quorum = Quorum.MAJORITY
    keep: _KeepInput = _KeepInput()
    monitors: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=input_models.MOST_MONITORS_PER_SIGNUP)] = []


class Stamp(NamedTuple):
    """Stamp of a file's state, compared without reading the file."""

    modified_ns: int
    size: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Stamp":
        """The stamp of a file with this status."""
        return cls(status.st_mtime_ns, status.st_size, status.st_ino)


def read_file(path: Path) -> tuple[bytes, Stamp]:
    """A file's bytes and the stamp that it had before they were read. Raises SettingsError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            stamp = Stamp.of(os.fstat(stream.fileno()))
            return stream.read(LARGEST_FILE_BYTES + 1), stamp
    except OSError as error:
        raise SettingsError(f"The plans file {path} cannot be read: {error.strerror or error}.") from None


def plans_of(data: bytes, path: Path, regions: Collection[str] | None = None) -> Plans:
    """The plans that a file's bytes mean. Raises WrongPlans for the first thing that is wrong.

    ``regions``: those that plans and their monitors may name; None: any.
    """
    file = str(path)
    if len(data) > LARGEST_FILE_BYTES:
        raise WrongPlans(file, "", "", f"it has more than {LARGEST_FILE_BYTES} bytes")
    try:
        document = tomllib.loads(data.decode())
    except ValueError as error:  # a TOMLDecodeError, a UnicodeDecodeError, or a number of thousands of digits
        raise WrongPlans(file, "", "", f"not valid TOML: {error}") from None
    except RecursionError:
        raise WrongPlans(file, "", "", "arrays and tables are nested too deeply") from None
    for name in document:
        if name != "plans":
            raise WrongPlans(file, "", name, "there is no such field; a plan is a table [plans.NAME]")
    tables = document.get("plans")
    if not tables or not isinstance(tables, dict):
        raise WrongPlans(file, "", "plans", "there are no plans in it; a plan is a table [plans.NAME]")
    found: dict[str, Plan] = {}
    for name, table in tables.items():
        try:
            msgspec.convert(name, type=input_models.Name)
            if "{" in name:
                raise InvalidInput("a plan's name has no braces")
            found[name] = _plan_of(name, table, path.name)
            if regions is not None:
                _check_regions(found[name], regions)
        except msgspec.ValidationError as error:
            raise WrongPlans(
                file, name, "", f"this cannot be a plan's name: {input_models.refusal(error).reason}"
            ) from None
        except InvalidInput as error:
            raise WrongPlans(file, name, error.path, error.reason) from None
    return Plans(found)


def _plan_of(name: str, table: object, file: str) -> Plan:
    if not isinstance(table, dict):
        raise InvalidInput("a plan is a table [plans.NAME]")
    try:
        given = msgspec.convert(table, type=_PlanInput)
    except msgspec.ValidationError as error:
        wrong = input_models.refusal(error, "")
        raise InvalidInput(wrong.reason, wrong.path.removeprefix(".")) from None
    limits = PlanQuotas(
        name,
        given.max_monitors,
        _shortest_ms(given.shortest_interval),
        given.weight,
        tuple(sorted(set(given.regions))),
        given.quorum,
    )
    if given.max_monitors is not None and len(given.monitors) > given.max_monitors:
        raise InvalidInput(f"the plan itself has {len(given.monitors)} monitors", "max_monitors")
    monitors: list[PlanMonitor] = []
    ids: set[str] = set()
    for index, document in enumerate(given.monitors):
        monitor = _monitor_of(document, f"monitors[{index}]", limits)
        if monitor.monitor_id and monitor.monitor_id in ids:
            raise InvalidInput(f"a second monitor has the id {monitor.monitor_id!r}", f"{monitor.field}.monitor_id")
        ids.add(monitor.monitor_id)
        monitors.append(monitor)
    try:
        input_conversion.check_runs(monitor.spec for monitor in monitors if monitor.spec is not None)
    except InvalidInput as error:
        raise InvalidInput(error.reason, "monitors") from None
    size = sum(len(orjson.dumps(document)) for document in given.monitors)
    if size > codec.LARGEST_INPUT_BYTES:
        raise InvalidInput(
            f"these take {size} bytes as JSON, and at most {codec.LARGEST_INPUT_BYTES} are taken", "monitors"
        )
    return Plan(name, file, tuple(monitors), limits, msgspec.to_builtins(given.keep))


def _check_regions(plan: Plan, known: Collection[str]) -> None:
    """Raise InvalidInput for a region that has no topics."""
    named = [("regions", plan.limits.regions)]
    named += [(f"{each.field}.policy.regions", each.spec.policy.regions) for each in plan.monitors if each.spec]
    for field, regions in named:
        for region in regions:
            if region not in known:
                there = ", ".join(sorted(known)) or "none"
                raise InvalidInput(f"the region {region!r} is not known; known: {there} (EVERWATCH_REGIONS)", field)


def _shortest_ms(given: str | int | float | None) -> int | None:
    if given is None:
        return None
    try:
        shortest_ms = parse_duration_ms(given)
    except ValueError as error:
        raise InvalidInput(str(error), "shortest_interval") from None
    if not 0 < shortest_ms <= input_models.LONGEST_INTERVAL_MS:
        raise InvalidInput(f"{given!r} is not between 1 ms and 400 days", "shortest_interval")
    return shortest_ms


def _monitor_of(table: dict[str, Any], field: str, limits: PlanQuotas) -> PlanMonitor:
    document = compiled(table, field)
    texts = texts_of(document)
    names = [name for text in texts for name in text.names]
    if not any(name.shown != PLAN_NAME for name in names):
        if isinstance(document, Object):
            document = document.filled(PlaceholderUser("", limits.plan, {}))
        spec = spec_of(document, field)
        limits.check_schedule(spec, field)
        return PlanMonitor(field, document, limits, spec.monitor_id, spec=spec)
    monitor = PlanMonitor(
        field,
        document,
        limits,
        _check_settled(document, field, limits),
        tuple(dict.fromkeys(name.attribute for name in names if name.attribute)),
        any(name.shown == ID_NAME for name in names),
    )
    if not monitor.is_personal and all(name.shown == PLAN_NAME or name.default is not None for name in names):
        # for users without any of the attributes
        limits.check_schedule(spec_of(monitor.filled(PlaceholderUser("", limits.plan, {})), field), field)
    return monitor


def _check_settled(document: Object, field: str, limits: PlanQuotas) -> str:
    """The monitor's id, if there is nothing to fill in.

    Refuse an invalid monitor in which nothing has to be filled in.
    """
    known = [info.encode_name for info in msgspec.structs.fields(input_models.MonitorInput)]
    for name in document.names():
        if name not in known:
            raise InvalidInput(f"there is no field {name!r}", f"{field}.{name}")
    settled = document.settled_members()
    try:
        given = input_models.parse_object(settled, input_models.MonitorInput)
        spec = input_conversion.monitor_of(given, "$")
        if not document.is_open_at("kind"):
            kind = registry.kind_named(spec.kind)
            if not document.is_open_at("config"):
                spec = admit_monitor(spec, "$")
            elif spec.schedule == input_models.NO_SCHEDULE:
                spec = msgspec.structs.replace(spec, schedule=Every(kind.default_schedule_ms))
        if spec.schedule != input_models.NO_SCHEDULE and not document.is_open_at("schedule"):
            limits.check_schedule(spec, "$")
    except InvalidInput as error:
        raise InvalidInput(error.reason, field + error.path.removeprefix("$"), error.code) from None
    # without an id of its own it is called after its kind
    is_open = document.is_open_at("monitor_id") or ("monitor_id" not in settled and document.is_open_at("kind"))
    return "" if is_open else spec.monitor_id
