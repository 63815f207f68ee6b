"""One plan and all of them: what they make of a signup, and what they allow. Pure, apart from what they remember."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from everwatch.core.errors import InvalidInput, RefusalCode
from everwatch.encoding import codec, input_conversion, input_models
from everwatch.kinds import registry
from everwatch.model import MonitorSpec, Quorum, Scalar, Signup
from everwatch.plans.placeholders import PLAN_NAME, Object, PlaceholderUser, texts_of
from everwatch.rules.admission import admit_monitor
from everwatch.schedule.duration import describe_duration
from everwatch.schedule.gap import shortest_gap_ms

USUAL_PLAN = "default"
"""The plan of users that name none; if the file does not have it, it means no monitors and no quotas."""
MOST_NAMED = 20
_REMEMBERED = 4_096
_REMEMBERED_CHARACTERS = 256


class PlanQuotas(msgspec.Struct, frozen=True):
    """Quotas of a plan; None: no limit. ``shortest_ms``: between two due instants of a monitor.

    ``weight``: share of each of its users in an executor that has more to do than it can. ``regions``, ``quorum``: of
    monitors that name no regions.
    """

    plan: str
    max_monitors: int | None = None
    shortest_ms: int | None = None
    weight: int = 1
    regions: tuple[str, ...] = ()
    quorum: Quorum = Quorum.MAJORITY

    @property
    def completes(self) -> bool:
        """Tell whether monitors get anything from the plan that ``completed`` adds."""
        return self.weight != 1 or bool(self.regions)

    def completed(self, spec: MonitorSpec) -> MonitorSpec:
        """Return ``spec`` with the plan's weight, and with its regions where it may have some and names none.

        The same value if it has all that.
        """
        policy = spec.policy
        more: dict[str, Any] = {} if policy.weight == self.weight else {"weight": self.weight}
        if self.regions and not policy.regions and not registry.kind_named(spec.kind).inline:
            more["regions"] = self.regions
            # one of its own was named for regions, too
            if policy.quorum is Quorum.MAJORITY:
                more["quorum"] = self.quorum
        return msgspec.structs.replace(spec, policy=msgspec.structs.replace(policy, **more)) if more else spec

    def check_schedule(self, spec: MonitorSpec, path: str) -> None:
        """Raise InvalidInput if a monitor is due more often than the plan allows."""
        if self.shortest_ms is None:
            return
        gap_ms = shortest_gap_ms(spec.schedule)
        if gap_ms is not None and gap_ms < self.shortest_ms:
            raise InvalidInput(
                f"the plan {self.plan!r} allows one run in {describe_duration(self.shortest_ms)}, and this schedule has"
                f" runs {describe_duration(gap_ms)} apart",
                f"{path}.schedule",
                RefusalCode.QUOTA,
            )

    def check_another(self, count: int) -> None:
        """Check that a user with ``count`` monitors may have one more. Raises InvalidInput."""
        if self.max_monitors is not None and count >= self.max_monitors:
            raise InvalidInput(
                f"the plan {self.plan!r} allows {self.max_monitors} monitors, and this user has"
                f" {count if count == self.max_monitors else 'more'} already",
                "$.monitor_id",
                RefusalCode.QUOTA,
            )


class PlanMonitor(msgspec.Struct, frozen=True, eq=False):
    """A monitor of a plan: the same for all users (``spec``), or a ``document`` to be filled in for each user.

    ``field``: where it stands, ``monitors[0]``. ``monitor_id`` is empty if that is to be filled in too.
    ``attributes``: what of the user is named in it; ``is_personal``: and the user's id as well.
    """

    field: str
    document: Object | dict[str, Any]
    limits: PlanQuotas
    monitor_id: str
    attributes: tuple[str, ...] = ()
    is_personal: bool = False
    spec: MonitorSpec | None = None

    @property
    def kind(self) -> str:
        """The kind's name; empty if that is to be filled in too."""
        document = self.document.settled_members() if isinstance(self.document, Object) else self.document
        if "kind" in document:
            return str(document["kind"])
        is_open = isinstance(self.document, Object) and self.document.is_open_at("kind")
        return "" if is_open else input_models.MonitorInput().kind

    def filled(self, given: PlaceholderUser) -> dict[str, Any]:
        """The monitor for a user, as a signup would say it. Raises InvalidInput, with the path in the signup."""
        return self.document.filled(given) if isinstance(self.document, Object) else self.document

    def admitted(self, given: PlaceholderUser) -> MonitorSpec:
        """The monitor for a user. Raises InvalidInput, with the path in the signup."""
        filled = self.filled(given)
        try:
            spec = spec_of(filled, self.field)
            self.limits.check_schedule(spec, self.field)
        except InvalidInput as error:
            raise InvalidInput(f"{error.path}: {error.reason}", self._cause(error.path), error.code) from None
        return spec

    def _cause(self, place: str) -> str:
        """The path in the signup of the value that was filled in at a place of the plan, or near it."""
        texts = texts_of(self.document)
        near = [text for text in texts if text.field.startswith(place) or place.startswith(text.field)]
        paths = {name.path for text in near for name in text.names if name.shown != PLAN_NAME}
        return paths.pop() if len(paths) == 1 else "$.attributes" if paths else "$.plan"


def spec_of(document: dict[str, Any], field: str) -> MonitorSpec:
    """The monitor of a plan, by the rules of a signup's. Raises InvalidInput, whose path begins with ``field``."""
    try:
        spec = input_conversion.monitor_of(input_models.parse_object(document, input_models.MonitorInput), "$")
        return admit_monitor(spec, "$")
    except InvalidInput as error:
        raise InvalidInput(error.reason, field + error.path.removeprefix("$"), error.code) from None


class Plan(msgspec.Struct, frozen=True, eq=False):
    """One plan of a file. ``file``: the file's name, for refusals.

    ``keep``: days for which the database keeps what is its users', by ``store.plan_keeping.KINDS``; 0: for good.
    """

    name: str
    file: str
    monitors: tuple[PlanMonitor, ...]
    limits: PlanQuotas
    keep: Mapping[str, int] = {}

    @property
    def required(self) -> list[str]:
        """The attributes that a signup with this plan must have, sorted."""
        names = [name for monitor in self.monitors for text in texts_of(monitor.document) for name in text.names]
        return sorted({name.attribute for name in names if name.attribute and name.default is None})

    def filled(self, given: PlaceholderUser) -> list[dict[str, Any]]:
        """The plan's monitors for a user, as a signup would say them. Raises InvalidInput."""
        return [monitor.filled(given) for monitor in self.monitors]


class Plans:
    """All plans of a file, as of one reading of it."""

    def __init__(self, plans: Mapping[str, Plan]) -> None:
        self.all = plans
        # of this reading: what was filled in from another one goes with it
        self._remembered = lru_cache(maxsize=_REMEMBERED, typed=True)(_admitted_alike)

    @property
    def keep_days(self) -> dict[str, Mapping[str, int]]:
        """Days of retention by plan and kind, where a plan says something else than the settings."""
        return {name: plan.keep for name, plan in self.all.items() if plan.keep}

    def named(self, name: str) -> Plan | None:
        """The plan with this name; None for the usual one if there is no entry for it. Raises InvalidInput."""
        plan = self.all.get(name)
        if plan is None and name != USUAL_PLAN:
            known = sorted({*self.all, USUAL_PLAN})
            more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
            raise InvalidInput(
                f"there is no plan {name!r}; there are {', '.join(known[:MOST_NAMED])}{more}",
                "$.plan",
                RefusalCode.UNKNOWN_PLAN,
            )
        return plan

    def limits_of(self, name: str) -> PlanQuotas | None:
        """The limits of users that have this plan; None if there are none, or no such plan any more."""
        plan = self.all.get(name)
        return None if plan is None else plan.limits

    def expanded(self, signup: Signup) -> Signup:
        """``signup`` with the monitors of its plan before its own, where it has none with the same id.

        Raises InvalidInput if there is no such plan, something cannot be filled in, or the plan allows less.
        """
        plan = self.named(signup.plan)
        if plan is None:
            return signup
        own, limits = signup.monitors, plan.limits
        if plan.monitors:
            taken = {spec.monitor_id for spec in own} if own else ()
            monitors = (*self._of_plan(plan, signup, taken), *own)
        else:
            monitors = own
        most = input_models.MOST_MONITORS_PER_SIGNUP
        if limits.max_monitors is not None:
            most = min(most, limits.max_monitors)
        if len(monitors) > most:
            from_plan = len(monitors) - len(own)
            raise InvalidInput(
                f"the plan {plan.name!r} allows {most} monitors, and these would be {len(monitors)}"
                f" ({from_plan} of the plan and {len(own)} of the signup)",
                "$.monitors",
                RefusalCode.QUOTA,
            )
        if plan.monitors:
            input_conversion.check_runs(monitors)
        if limits.shortest_ms is not None:
            for index, spec in enumerate(own):
                limits.check_schedule(spec, f"$.monitors[{index}]")
        if limits.completes:
            monitors = tuple(map(limits.completed, monitors))
        return Signup(
            signup.user_id,
            signup.plan,
            signup.attributes,
            monitors,
            signup.maintenance,
            signup.signup_id,
            signup.reply,
            signup.request_digest,
            signup.if_registration,
        )

    def ids_of(self, signup: Signup) -> frozenset[str]:
        """The ids of the monitors that the plan gives such a user; none if there is no such plan, or it cannot be."""
        plan = self.all.get(signup.plan)
        if plan is None or not plan.monitors:
            return frozenset()
        try:
            return frozenset(spec.monitor_id for spec in self._of_plan(plan, signup, ()))
        except InvalidInput:
            return frozenset()

    def _of_plan(self, plan: Plan, signup: Signup, taken: set[str] | tuple[()]) -> list[MonitorSpec]:
        given = PlaceholderUser(signup.user_id, signup.plan, signup.attributes)
        try:
            return self._filled_in(plan.monitors, given, taken)
        except InvalidInput as error:
            raise InvalidInput(f"plan {plan.name!r} of {plan.file}: {error.reason}", error.path, error.code) from None

    def _filled_in(
        self, monitors: Sequence[PlanMonitor], given: PlaceholderUser, taken: set[str] | tuple[()]
    ) -> list[MonitorSpec]:
        specs: list[MonitorSpec] = []
        characters, are_named = 0, False
        for monitor in monitors:
            if taken and monitor.monitor_id in taken:
                continue
            spec = monitor.spec
            if spec is None:
                spec = self._admitted(monitor, given)
                characters += len(spec.config) + len(spec.payload)
                if not monitor.monitor_id:
                    are_named = True
                    if spec.monitor_id in taken:
                        continue
            specs.append(spec)
        if are_named and (twice := _found_twice(specs)):
            raise InvalidInput(f"filled in, two of its monitors have the id {twice!r}", "$.plan")
        if characters > codec.LARGEST_INPUT_BYTES:
            most = codec.LARGEST_INPUT_BYTES
            raise InvalidInput(f"filled in, its monitors take more than {most} characters", "$.attributes")
        return specs

    def _admitted(self, monitor: PlanMonitor, given: PlaceholderUser) -> MonitorSpec:
        if monitor.is_personal:
            return monitor.admitted(given)
        values = [given.attributes.get(name) for name in monitor.attributes]
        characters = 0
        for value in values:
            if isinstance(value, float):
                # 0.0 and -0.0 would be one key
                return monitor.admitted(given)
            characters += len(value) if isinstance(value, str) else 8
        if characters > _REMEMBERED_CHARACTERS:
            return monitor.admitted(given)
        return self._remembered(monitor, *values)


def _admitted_alike(monitor: PlanMonitor, *values: Scalar) -> MonitorSpec:
    return monitor.admitted(
        PlaceholderUser("", monitor.limits.plan, dict(zip(monitor.attributes, values, strict=True)))
    )


def _found_twice(specs: list[MonitorSpec]) -> str:
    seen: set[str] = set()
    for spec in specs:
        if spec.monitor_id in seen:
            return spec.monitor_id
        seen.add(spec.monitor_id)
    return ""
