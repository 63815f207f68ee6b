"""The kind ``dns``: what do name servers answer for a name?"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Literal

import aiodns.error
import msgspec
import pycares

from everwatch.core.errors import TargetForbidden
from everwatch.kinds.protocol import FieldError, RunContext
from everwatch.model import Outcome, Status, Tick
from everwatch.network.connections import Host, allowed_addresses, check_host, milliseconds
from everwatch.network.error_texts import address_of, explain_connection_error, quoted
from everwatch.network.host_names import to_ascii
from everwatch.network.name_servers import aliases_of, owned, plain_name

_PORT = 53
_LABEL = re.compile(r"[a-z0-9_/*-]{1,63}")
_IP_OF = {"A": IPv4Address, "AAAA": IPv6Address}
_SERVER = re.compile(r"\[(?P<v6>[^\[\]]+)\](?::(?P<v6_port>\d{1,5}))?|(?P<host>[^:,\[\]]+)(?::(?P<port>\d{1,5}))?")
_NONE = (aiodns.error.ARES_ENODATA, aiodns.error.ARES_ENOTFOUND)

RecordType = Literal["A", "AAAA", "CAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"]
Answers = Annotated[list[Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]], msgspec.Meta(max_length=64)]


class DnsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The question and the expected answers; names and expected answers are kept in normal form.

    An IP address as ``name`` of a PTR record stands for its reverse name.
    """

    name: Host
    type: RecordType = "A"
    server: Annotated[str, msgspec.Meta(max_length=262)] = ""
    answers_include: Answers = []
    answers_include_any: Answers = []
    answers_are: Answers = []
    at_least: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 1

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "name", _normal_name(self.name, self.type))
        if self.server:
            parse_server(self.server)
        for field in ("answers_include", "answers_include_any", "answers_are"):
            normal = {_normal_answer(field, answer, self.type) for answer in getattr(self, field)}
            msgspec.structs.force_setattr(self, field, sorted(normal))
        if self.answers_are and self.at_least > len(self.answers_are):
            raise FieldError("at_least", f"answers_are allows {_count(len(self.answers_are), 'answer')} and no more")


class DnsKind:
    """Asks once. Timings, in ms: server (finding the address of a ``server`` that is a name), query, total."""

    name = "dns"
    config_type = DnsConfig
    default_schedule_ms = 60_000

    @property
    def inline(self) -> Literal[False]:
        return False

    def target(self, config: DnsConfig) -> str:
        """The server that is asked; "" for those of the system."""
        return parse_server(config.server)[0] if config.server else ""

    async def run(self, config: DnsConfig, tick: Tick, context: RunContext) -> Outcome:  # noqa: ARG002  (the names are the protocol's)
        """Ask the server, whose addresses the guard has seen, and compare. Answers are never connected to."""
        clock = context.clock
        began_s = clock.monotonic_s()
        timings: dict[str, float] = {}
        try:
            servers = await _server_addresses(config.server, context)
            asked_s = clock.monotonic_s()
            if config.server:
                timings["server"] = milliseconds(asked_s - began_s)
            reason = await _ask(config, context, servers)
            timings["query"] = milliseconds(clock.monotonic_s() - asked_s)
        except TargetForbidden as error:
            reason = str(error)
        except OSError as error:
            reason = "name server: " + explain_connection_error(error, *parse_server(config.server))
        timings["total"] = milliseconds(clock.monotonic_s() - began_s)
        return Outcome(Status.FAILURE if reason else Status.SUCCESS, reason, timings)


async def _server_addresses(server: str, context: RunContext) -> list[str]:
    # a user chooses the server, so it passes the guard; those of the system are the operator's choice
    if not server:
        return []
    host, port = parse_server(server)
    found = allowed_addresses(await context.resolver.addresses(host, port), context.guard)
    return [address_of(info[4][0], port) for info in found]


async def _ask(config: DnsConfig, context: RunContext, servers: list[str]) -> str:
    nothing = ""
    try:
        records = await context.resolver.records(config.name, config.type, servers)
    except aiodns.error.DNSError as error:
        code = error.args[0]
        if code not in _NONE:
            return explain_code(code, config)
        records = []
        if code == aiodns.error.ARES_ENOTFOUND:
            nothing = f"name {config.name} does not exist"
    answers = sorted({_text(record.data) for record in owned(records, config.name, config.type)})
    reason = _judge(config, answers)
    if not reason:
        return ""
    *_, alias = aliases_of(records, config.name)
    if not answers and alias != config.name and config.type != "CNAME":
        return f"{config.name} is an alias of {alias}, of which the answer has no {config.type} record"
    return nothing or reason


def _judge(config: DnsConfig, answers: list[str]) -> str:
    """Compare ``answers`` (in normal form) with what ``config`` expects; gives the reason of a failure, or ""."""
    records = f"{config.type} record"
    if not answers and (config.at_least or config.answers_include or config.answers_include_any or config.answers_are):
        return f"{config.name} has no {records}"
    if len(answers) < config.at_least:
        return f"{config.name} has {_count(len(answers), records)}, expected at least {config.at_least}"
    found = f"; found: {quoted(', '.join(answers))}"
    expected = sorted({*config.answers_include, *config.answers_are})
    if missing := [one for one in expected if not any(_agrees(config, one, answer) for answer in answers)]:
        return f"the {records}s of {config.name} lack {quoted(', '.join(missing))}{found}"
    any_of = config.answers_include_any
    if any_of and not any(_agrees(config, one, answer) for one in any_of for answer in answers):
        return f"the {records}s of {config.name} include none of {quoted(', '.join(any_of))}{found}"
    if config.answers_are:
        agreed = config.answers_are
        more = [answer for answer in answers if not any(_agrees(config, one, answer) for one in agreed)]
        if more:
            return f"{config.name} has {records}s that are not expected: {quoted(', '.join(more))}"
    return ""


def _agrees(config: DnsConfig, expected: str, answer: str) -> bool:
    # the serial of a zone and what follows it change, so an expected SOA may leave them out
    return answer == expected or (config.type == "SOA" and answer.startswith(expected + " "))


def explain_code(code: int, config: DnsConfig) -> str:
    server = f"name server {config.server}" if config.server else "the system's name server"
    match code:
        case aiodns.error.ARES_ETIMEOUT:
            return f"{server} does not answer"
        case aiodns.error.ARES_ECONNREFUSED:
            return f"{server} does not accept the query: connection refused"
        case aiodns.error.ARES_ESERVFAIL:
            return f"{server} could not find out about {config.name} (SERVFAIL)"
        case aiodns.error.ARES_EREFUSED:
            return f"{server} refuses to answer for {config.name} (REFUSED)"
        case aiodns.error.ARES_ENOTIMP:
            return f"{server} does not know such queries (NOTIMP)"
        case aiodns.error.ARES_EBADRESP | aiodns.error.ARES_EFORMERR:
            return f"{server} gave an answer that is not valid DNS"
    return f"{server} could not be asked: {_plain(pycares.errno.strerror(code))}"


def _text(data: object) -> str:
    """A record's data as people write it, in the form that ``_normal_answer`` gives expected data."""
    match data:
        case pycares.ARecordData() | pycares.AAAARecordData():
            return str(ip_address(data.addr))
        case pycares.CNAMERecordData():
            return _host(data.cname)
        case pycares.NSRecordData():
            return _host(data.nsdname)
        case pycares.PTRRecordData():
            return _host(data.dname)
        case pycares.MXRecordData():
            return f"{data.priority} {_host(data.exchange)}"
        case pycares.SRVRecordData():
            return f"{data.priority} {data.weight} {data.port} {_host(data.target)}"
        case pycares.SOARecordData():
            times = f"{data.serial} {data.refresh} {data.retry} {data.expire} {data.minimum}"
            return f"{_host(data.mname)} {_host(data.rname)} {times}"
        case pycares.CAARecordData():
            return f"{data.critical} {_plain(data.tag)} {_plain(data.value)}"
        case pycares.TXTRecordData():
            return data.data.decode(errors="backslashreplace")
    return str(data)


def _host(name: str | bytes) -> str:
    return plain_name(name) or "."


def _plain(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode(errors="backslashreplace")


def _normal_name(name: str, record_type: str) -> str:
    if record_type == "PTR":
        try:
            return ip_address(name).reverse_pointer
        except ValueError:
            pass
    try:
        normal = to_ascii(name).lower().removesuffix(".")
    except ValueError as error:
        raise FieldError("name", str(error)) from None
    if not all(_LABEL.fullmatch(label) for label in normal.split(".")):
        raise FieldError("name", f"{name!r} is not a domain name")
    return normal


def _normal_answer(field: str, answer: str, record_type: str) -> str:
    if record_type == "TXT":
        return answer
    text = " ".join(answer.split())
    if record_type in _IP_OF:
        try:
            return str(_IP_OF[record_type](text))
        except ValueError:
            raise FieldError(field, f"{answer!r} is not what {record_type} records hold, an IP address") from None
    if record_type == "CAA":
        return text.replace('"', "")
    try:
        parts = [to_ascii(part).removesuffix(".") or part for part in text.lower().split(" ")]
    except ValueError as error:
        raise FieldError(field, str(error)) from None
    least, most = {"MX": (2, 2), "SRV": (4, 4), "SOA": (1, 7)}.get(record_type, (1, 1))
    numbers = parts[: most - 1] if record_type in ("MX", "SRV") else parts[2:]
    if not least <= len(parts) <= most or not all(part.isdecimal() for part in numbers):
        raise FieldError(
            field, f"{answer!r} is not written like a record of type {record_type}: {_EXAMPLES[record_type]}"
        )
    return " ".join(parts)


_EXAMPLES = {
    "CNAME": "web.example.com",
    "NS": "ns1.example.com",
    "PTR": "host.example.com",
    "MX": "10 mail.example.com",
    "SRV": "10 60 5060 sip.example.com",
    "SOA": "ns1.example.com hostmaster.example.com 2026112101 7200 3600 1209600 300, or its beginning",
}


def parse_server(server: str) -> tuple[str, int]:
    """Host and port of "host", "host:port", an IPv6 address or "[IPv6]:port". Raises FieldError."""
    match = _SERVER.fullmatch(f"[{server}]" if server.count(":") > 1 and "[" not in server else server)
    if match is None or (match["v6"] and not _is_ipv6(match["v6"])):
        raise FieldError("server", f"{server!r} is not a name server such as 192.0.2.53 or ns1.example.com:53")
    host, port = match["v6"] or match["host"], match["port"] or match["v6_port"] or str(_PORT)
    check_host("server", host)
    if not 1 <= int(port) <= 65_535:
        raise FieldError("server", "a port is a number from 1 to 65535")
    return host, int(port)


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
