"""Admission of inputs: decoded, validated field by field, and their configs checked by the kinds."""

from functools import lru_cache
from typing import Annotated, Literal, Protocol

import msgspec
import orjson

from everwatch.core.bounds import RESERVED_USERS
from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec, input_conversion, input_models
from everwatch.encoding.contacts import with_contacts
from everwatch.kinds import registry
from everwatch.kinds.shared.secret_fields import refuse_stand_ins
from everwatch.model import At, Command, CommandType, MonitorSpec, ReplyOn, Signup


class _Outline(msgspec.Struct, forbid_unknown_fields=True):
    """A signup whose monitors are not looked into."""

    user_id: input_models.UserId
    plan: input_models.Name = "default"
    attributes: dict[str, input_models.Attribute] = {}
    monitors: msgspec.Raw = msgspec.Raw(b"[]")
    maintenance: msgspec.Raw = msgspec.Raw(b"[]")
    signup_id: input_models.MonitorId = ""
    reply: ReplyOn = ReplyOn.EVERY_OUTCOME
    contacts: input_models.Contacts = {}
    request_digest: input_models.Digest = ""
    if_registration: input_models.Digest = ""


class _PutOutline(msgspec.Struct, forbid_unknown_fields=True):
    """A put whose monitor is not looked into; a command with any other field goes the slower way."""

    command: Literal["put"]
    user_id: input_models.UserId
    monitor: msgspec.Raw
    monitor_id: input_models.MonitorId = ""
    command_id: input_models.MonitorId = ""
    if_version: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    reply: ReplyOn = ReplyOn.EVERY_OUTCOME
    request_digest: input_models.Digest = ""


_outline_of = msgspec.json.Decoder(_Outline).decode
_put_outline_of = msgspec.json.Decoder(_PutOutline).decode
# many users sign up with the very same monitors: many short texts are remembered, and few long ones
_SHORT_BYTES, _SHORT_REMEMBERED = 2_048, 4_096
_LONG_BYTES, _LONG_REMEMBERED = 32_768, 128


class SignupPlans(Protocol):
    """Plans, as far as signups need them."""

    def expanded(self, signup: Signup) -> Signup:
        """``signup`` with the monitors of its plan. Raises InvalidInput."""
        ...


def admit_signup(data: bytes | None, asked_at: int = 0, plans: SignupPlans | None = None) -> Signup:
    """The signup in ``data``, ready to be registered. Raises InvalidInput with the reason and the field's path.

    ``asked_at``: when it was produced, ms; its delays are counted from there, those of its plan from the registration,
    which is not known here. Without ``plans`` a plan is only a word.
    """
    signup = _admit_remembered(data) or _admit_signup(data)
    for spec in signup.monitors:
        if isinstance(spec.schedule, At):
            monitors = tuple(input_conversion.resolved(spec, asked_at) for spec in signup.monitors)
            signup = msgspec.structs.replace(signup, monitors=monitors)
            break
    return signup if plans is None else plans.expanded(signup)


def _admit_remembered(data: bytes | None) -> Signup | None:
    """The signup in ``data``, if its monitors are no long text; None for any other, and for whatever is wrong."""
    if data and data[:1] == b"{" and len(data) <= codec.LARGEST_INPUT_BYTES:
        try:
            outline = _outline_of(data)
            size = len(outline.monitors) + len(outline.maintenance)
            if outline.user_id not in RESERVED_USERS and size <= _LONG_BYTES:
                admit = _admit_short if size <= _SHORT_BYTES else _admit_long
                alike = admit(bytes(outline.monitors), bytes(outline.maintenance))
                return Signup(
                    outline.user_id,
                    outline.plan,
                    with_contacts(outline.attributes, outline.contacts),
                    alike.monitors,
                    alike.maintenance,
                    outline.signup_id,
                    outline.reply,
                    outline.request_digest,
                    outline.if_registration,
                )
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidInput):
            pass  # the slower path below finds the fault and names its path
    return None


def _admit_monitors(monitors: bytes, maintenance: bytes) -> Signup:
    return _admit_signup(b'{"user_id":"any","monitors":%b,"maintenance":%b}' % (monitors, maintenance))


_admit_short = lru_cache(maxsize=_SHORT_REMEMBERED)(_admit_monitors)
_admit_long = lru_cache(maxsize=_LONG_REMEMBERED)(_admit_monitors)


def _admit_signup(data: bytes | None) -> Signup:
    signup = codec.decode_signup(data)
    monitors = tuple(admit_monitor(spec, f"$.monitors[{i}]") for i, spec in enumerate(signup.monitors))
    return msgspec.structs.replace(signup, monitors=monitors)


def admit_command(data: bytes | None, asked_at: int = 0) -> Command:
    """The command in ``data``, produced at ``asked_at`` (ms), ready to be carried out. Raises InvalidInput."""
    if (put := _admit_remembered_put(data)) is not None:
        return put
    command = codec.decode_command(data)
    if command.monitor is None:
        return command
    return msgspec.structs.replace(
        command, monitor=input_conversion.resolved(admit_monitor(command.monitor, "$.monitor"), asked_at)
    )


def _admit_remembered_put(data: bytes | None) -> Command | None:
    """The put in ``data``, if its monitor is a short text that was admitted lately; None for all others."""
    if not data or data[:1] != b"{" or len(data) > _SHORT_BYTES:
        return None
    try:
        outline = _put_outline_of(data)
        if outline.user_id in RESERVED_USERS:
            return None
        spec = _admit_put_monitor(bytes(outline.monitor), outline.monitor_id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidInput):
        return None  # the slower path finds the fault and names its path
    if isinstance(spec.schedule, At) and spec.schedule.at <= 0:
        return None  # a delay counts from when each was asked for
    return Command(
        CommandType.PUT,
        outline.user_id,
        spec.monitor_id,
        spec,
        outline.command_id,
        outline.if_version,
        reply=outline.reply,
        request_digest=outline.request_digest,
    )


@lru_cache(maxsize=_SHORT_REMEMBERED)
def _admit_put_monitor(monitor: bytes, monitor_id: str) -> MonitorSpec:
    named = b',"monitor_id":' + orjson.dumps(monitor_id) if monitor_id else b""
    command = codec.decode_command(b'{"command":"put","user_id":"any","monitor":%b%b}' % (monitor, named))
    assert command.monitor is not None  # a put has one
    return admit_monitor(command.monitor, "$.monitor")


def admit_monitor(spec: MonitorSpec, path: str) -> MonitorSpec:
    """``spec`` with its config in canonical form and the kind's schedule where it names none. Raises InvalidInput."""
    try:
        kind = registry.kind_named(spec.kind)
        if spec.policy.regions and kind.inline:
            raise InvalidInput(
                f"the kind {spec.kind!r} is judged in the worker, so it runs in no region", "$.policy.regions"
            )
        given = orjson.loads(spec.config)
        refuse_stand_ins(given, kind.config_type)
        parsed = registry.parse_config(kind, given)
        config = registry.canonical_config(kind, parsed)
        schedule = (
            registry.default_schedule(kind, parsed) if spec.schedule == input_models.NO_SCHEDULE else spec.schedule
        )
    except InvalidInput as error:
        raise InvalidInput(error.reason, path + error.path.removeprefix("$"), error.code) from None
    except Exception as error:
        # a kind of another package may fail in any way; that harms only the monitors that name it
        raise InvalidInput(f"the kind {spec.kind!r} failed on the config: {error!r}", f"{path}.config") from error
    return msgspec.structs.replace(spec, config=config, schedule=schedule)
