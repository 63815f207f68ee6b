"""The kind dns against a real name server, UDP and TCP, on the loopback address.

All in one file: one kind and its server.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import AsyncIterator
from operator import itemgetter

import aiodns
import aiodns.error
import pytest
from support.calls import calls_of
from support.nameserver import FORMERR, NOTIMP, NXDOMAIN, REFUSED, SERVFAIL, NameServer, open_name_server
from support.resolving import at
from support.waiting import PATIENCE

from everwatch.core.clock import SystemClock
from everwatch.core.errors import InvalidInput
from everwatch.kinds import registry
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.kinds.protocol import RunContext
from everwatch.model import Outcome, Status, Tick
from everwatch.network.guard import Guard
from everwatch.network.resolver import Resolver

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    async with open_name_server() as server:
        yield server


@pytest.fixture
async def context() -> AsyncIterator[RunContext]:
    async with open_run_context(SystemClock(), Guard(LOOPBACK)) as context:
        yield context


async def check(context: RunContext, **config: object) -> Outcome:
    kind = registry.kind_named("dns")
    assert not kind.inline
    tick = Tick("user", "monitor", 0, "dns", "{}", 10_000, 1, 0)
    return await kind.run(registry.parse_config(kind, config), tick, context)


SOA = "ns1.a.example hostmaster.a.example 2026112101 7200 3600 1209600 300"

RECORDS = [
    ("A", "203.0.113.7", "203.0.113.7"), ("AAAA", "2001:db8::7", "2001:0DB8:0::7"),
    ("CNAME", "web.b.example", "Web.B.example."), ("NS", "ns1.a.example", "ns1.a.example."),
    ("MX", "10 mail.a.example", "10  MAIL.a.example."), ("TXT", "v=spf1 -all", "v=spf1 -all"),
    ("SOA", SOA, SOA), ("SOA", SOA, "ns1.a.example hostmaster.a.example"), ("PTR", "host.a.example", "host.a.example"),
    ("SRV", "10 60 5060 sip.a.example", "10 60 5060 sip.a.example."),
    ("CAA", "0 issue letsencrypt.org", '0 issue "letsencrypt.org"'),
]  # fmt: skip


@pytest.mark.parametrize(("record_type", "held", "expected"), RECORDS)
@pytest.mark.parametrize("field", ["answers_include", "answers_include_any", "answers_are"])
async def test_every_type_of_record_is_compared_as_people_write_it(
    context: RunContext, server: NameServer, record_type: str, held: str, expected: str, field: str
) -> None:
    server.zone["a.example", record_type] = [held]
    asked = {"name": "A.example.", "type": record_type, "server": f"127.0.0.1:{server.port}"}
    outcome = await check(context, **asked, **{field: [expected]})
    assert (outcome.status, outcome.reason) == (Status.SUCCESS, "")
    assert set(outcome.timings) == {"server", "query", "total"}


async def test_a_long_text_is_put_together_from_its_pieces(context: RunContext, server: NameServer) -> None:
    key = "v=DKIM1; p=" + "k" * 400
    server.zone["mail._domainkey.a.example", "TXT"] = [key]
    asked = {"name": "mail._domainkey.a.example", "type": "TXT", "server": f"127.0.0.1:{server.port}"}
    assert (await check(context, **asked, answers_are=[key])).reason == ""


@pytest.mark.parametrize(
    ("expectation", "reason"),
    [
        ({}, ""),
        ({"at_least": 2}, ""),
        ({"at_least": 3}, "a.example has 2 A records, expected at least 3"),
        ({"answers_include": ["203.0.113.2"]}, ""),
        (
            {"answers_include": ["203.0.113.2", "203.0.113.3"]},
            "the A records of a.example lack '203.0.113.3'; found: '203.0.113.1, 203.0.113.2'",
        ),
        ({"answers_include_any": ["203.0.113.2", "203.0.113.3"]}, ""),
        (
            {"answers_include_any": ["203.0.113.4", "203.0.113.3"]},
            "the A records of a.example include none of '203.0.113.3, 203.0.113.4'; found: '203.0.113.1, 203.0.113.2'",
        ),
        ({"answers_are": ["203.0.113.2", "203.0.113.1"]}, ""),
        ({"answers_are": ["203.0.113.2"]}, "a.example has A records that are not expected: '203.0.113.1'"),
        (
            {"answers_are": ["203.0.113.1", "203.0.113.2", "203.0.113.9"]},
            "the A records of a.example lack '203.0.113.9'; found: '203.0.113.1, 203.0.113.2'",
        ),
    ],
)
async def test_what_is_expected_of_the_answers(
    context: RunContext, server: NameServer, expectation: dict[str, object], reason: str
) -> None:
    server.zone["a.example", "A"] = ["203.0.113.1", "203.0.113.2"]
    outcome = await check(context, name="a.example", server=f"127.0.0.1:{server.port}", **expectation)
    assert outcome.reason == reason
    assert outcome.status is (Status.FAILURE if reason else Status.SUCCESS)


async def test_an_alias_on_the_way_is_no_answer(context: RunContext, server: NameServer) -> None:
    asked = {"name": "www.a.example", "server": f"127.0.0.1:{server.port}"}
    server.zone["www.a.example", "A"] = ["CNAME=a.example", "@a.example A=203.0.113.1"]
    assert (await check(context, **asked, answers_are=["203.0.113.1"])).reason == ""
    server.zone["www.a.example", "A"] = ["CNAME=a.example"]
    alone = "www.a.example is an alias of a.example, of which the answer has no A record"
    assert (await check(context, **asked)).reason == alone


@pytest.mark.parametrize(
    "records",
    [
        ["@evil.example A=203.0.113.1"],
        ["CNAME=b.example", "A=203.0.113.1"],
        ["@evil.example CNAME=b.example", "@b.example A=203.0.113.1"],
        ["CNAME=b.example", "@b.example CNAME=a.example", "@a.example CNAME=b.example", "@evil.example A=203.0.113.1"],
    ],
)
async def test_a_record_of_another_name_answers_nothing(
    context: RunContext, server: NameServer, records: list[str]
) -> None:
    server.zone["a.example", "A"] = records
    assert "no A record" in (await check(context, name="a.example", server=f"127.0.0.1:{server.port}")).reason


async def test_a_chain_of_aliases_is_followed_in_whatever_order_it_comes(
    context: RunContext, server: NameServer
) -> None:
    server.zone["a.example", "A"] = ["@c.example A=203.0.113.1", "@B.example CNAME=c.example", "CNAME=b.example"]
    server.zone["a.example", "CNAME"] = ["@b.example CNAME=c.example", "CNAME=b.example"]
    asked = {"name": "a.example", "server": f"127.0.0.1:{server.port}"}
    assert (await check(context, **asked, answers_are=["203.0.113.1"])).reason == ""
    assert (await check(context, **asked, type="CNAME", answers_are=["b.example"])).reason == ""


@pytest.mark.parametrize("header_only", [False, True])
@pytest.mark.parametrize("rcode", [FORMERR, NOTIMP])
@pytest.mark.parametrize("only_over_tcp", [False, True])
async def test_a_server_that_does_not_know_edns_is_asked_again_without_it(
    context: RunContext, server: NameServer, rcode: int, header_only: bool, only_over_tcp: bool
) -> None:
    server.zone["a.example", "A"] = ["203.0.113.1"]
    server.edns_rcode, server.header_only, server.only_over_tcp = rcode, header_only, only_over_tcp
    outcome = await check(context, name="a.example", server=f"127.0.0.1:{server.port}", answers_are=["203.0.113.1"])
    assert outcome.reason == ""
    assert server.asked[-1] == ("tcp" if only_over_tcp else "udp")


@pytest.mark.parametrize("rcode", [FORMERR, NOTIMP])
async def test_a_server_that_knows_no_query_at_all_is_a_failure(
    context: RunContext, server: NameServer, rcode: int
) -> None:
    server.rcodes["a.example"] = rcode
    said = {FORMERR: "gave an answer that is not valid DNS", NOTIMP: "does not know such queries (NOTIMP)"}[rcode]
    outcome = await check(context, name="a.example", server=f"127.0.0.1:{server.port}")
    assert outcome.reason == f"name server 127.0.0.1:{server.port} {said}"


async def test_an_international_name_is_asked_for_in_its_ascii_form(context: RunContext, server: NameServer) -> None:
    server.zone["xn--fa-hia.example", "MX"] = ["10 xn--strae-oqa.example"]
    asked = {"name": "Faß.example", "server": f"127.0.0.1:{server.port}", "type": "MX"}
    assert (await check(context, **asked, answers_are=["10 Straße.example"])).reason == ""


@pytest.mark.parametrize(
    ("rcode", "reason"),
    [
        (NXDOMAIN, "name a.example does not exist"),
        (SERVFAIL, "name server 127.0.0.1:{port} could not find out about a.example (SERVFAIL)"),
        (REFUSED, "name server 127.0.0.1:{port} refuses to answer for a.example (REFUSED)"),
        (0, "a.example has no A record"),
    ],
)
async def test_what_the_server_says_instead_of_an_answer(
    context: RunContext, server: NameServer, rcode: int, reason: str
) -> None:
    server.rcodes["a.example"] = rcode
    outcome = await check(context, name="a.example", server=f"127.0.0.1:{server.port}")
    assert (outcome.status, outcome.reason) == (Status.FAILURE, reason.format(port=server.port))


@pytest.mark.parametrize(("rcode", "success"), [(NXDOMAIN, True), (0, True), (SERVFAIL, False)])
async def test_no_answer_is_fine_where_none_is_needed(
    context: RunContext, server: NameServer, rcode: int, success: bool
) -> None:
    server.rcodes["a.example"] = rcode
    outcome = await check(context, name="a.example", server=f"127.0.0.1:{server.port}", at_least=0)
    assert (outcome.status is Status.SUCCESS) == success


async def test_an_answer_too_long_for_udp_is_asked_for_over_tcp(context: RunContext, server: NameServer) -> None:
    server.only_over_tcp = True
    server.zone["a.example", "A"] = [f"203.0.113.{last}" for last in range(1, 100)]
    asked = {"name": "a.example", "server": f"127.0.0.1:{server.port}"}
    assert (await check(context, **asked, at_least=99)).reason == ""
    assert server.asked == ["udp", "tcp"]


async def test_every_check_asks_anew_however_long_the_answer_is_valid(context: RunContext, server: NameServer) -> None:
    asked = {"name": "a.example", "server": f"127.0.0.1:{server.port}"}
    server.zone["a.example", "A"] = ["203.0.113.1"]
    assert (await check(context, **asked, answers_are=["203.0.113.1"])).reason == ""
    server.zone["a.example", "A"] = ["203.0.113.2"]
    assert (await check(context, **asked, answers_are=["203.0.113.2"])).reason == ""


async def test_a_server_that_is_not_there_is_a_failure_that_names_it(context: RunContext) -> None:
    # connected to another port, it takes nothing from us; let go of, its port might become the one that we ask from
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.connect(("127.0.0.1", 9))
        port = taken.getsockname()[1]
        outcome = await check(context, name="a.example", server=f"127.0.0.1:{port}")
    assert outcome.reason == f"name server 127.0.0.1:{port} does not accept the query: connection refused"


async def test_a_server_that_stays_silent_is_a_failure_that_names_it(server: NameServer) -> None:
    server.silent = True
    impatient = Resolver(SystemClock(), try_s=0.05)
    async with open_run_context(SystemClock(), Guard(LOOPBACK), resolver=impatient) as context:
        outcome = await check(context, name="a.example", server=f"127.0.0.1:{server.port}")
    assert outcome.reason == f"name server 127.0.0.1:{server.port} does not answer"
    assert len(server.asked) > 1


async def test_so_many_servers_are_asked_at_once_and_a_check_that_is_cancelled_lets_its_place_go(
    context: RunContext, server: NameServer
) -> None:
    server.silent = True
    asked = {"name": "a.example", "server": f"127.0.0.1:{server.port}"}
    checks = [asyncio.create_task(check(context, **asked)) for _ in range(80)]
    async with asyncio.timeout(30 * PATIENCE):
        while len(server.asked) < 64:
            await asyncio.sleep(0.001)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(server.asked) == 64
    for task in checks:
        task.cancel()
    assert all(
        isinstance(result, asyncio.CancelledError) for result in await asyncio.gather(*checks, return_exceptions=True)
    )
    server.silent = False
    server.zone["a.example", "A"] = ["203.0.113.1"]
    async with asyncio.timeout(30 * PATIENCE):
        outcomes = await asyncio.gather(*(check(context, **asked) for _ in range(80)))
    assert {outcome.reason for outcome in outcomes} == {""}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433"])
async def test_a_server_at_a_forbidden_address_is_not_asked(server: NameServer, host: str) -> None:
    async with open_run_context(SystemClock(), Guard()) as context:
        outcome = await check(context, name="a.example", server=f"{host}:{server.port}")
    assert outcome.status is Status.FAILURE
    assert re.match(r"target (127\.0\.0\.1|::1) is a loopback address, which checks may not reach", outcome.reason)
    assert server.asked == []


async def test_the_name_of_a_server_is_resolved_once_and_only_checked_addresses_are_asked(server: NameServer) -> None:
    resolver = at("10.0.0.1", "127.0.0.1")
    async with open_run_context(SystemClock(), Guard(LOOPBACK), resolver=resolver) as context:
        server.zone["a.example", "A"] = ["203.0.113.1"]
        outcome = await check(context, name="a.example", server=f"ns.example:{server.port}")
    assert (outcome.reason, resolver.asked) == ("", ["ns.example"])


async def test_the_servers_of_the_system_are_asked_where_none_is_named() -> None:
    with calls_of(aiodns.DNSResolver.__init__, itemgetter("nameservers")) as asked:
        # nobody is asked for a name with such a label
        with pytest.raises(aiodns.error.DNSError, match="Misformatted domain name"):
            await Resolver(SystemClock()).records("a" * 64, "A")
        # without servers these are the system's
        async with aiodns.DNSResolver() as of_the_system, aiodns.DNSResolver(asked[0]) as of_the_resolver:
            assert of_the_resolver.nameservers == of_the_system.nameservers != []
    assert asked == [(), None, ()]


async def test_no_guard_keeps_checks_from_the_servers_of_the_system(server: NameServer) -> None:
    # in the place of those of the system
    resolver = Resolver(SystemClock(), [f"127.0.0.1:{server.port}"])
    server.rcodes["a.example"] = SERVFAIL
    async with open_run_context(SystemClock(), Guard(), resolver=resolver) as context:
        outcome = await check(context, name="a.example")
    assert outcome.reason == "the system's name server could not find out about a.example (SERVFAIL)"
    assert set(outcome.timings) == {"query", "total"}


async def test_answers_at_forbidden_addresses_are_compared_and_not_reached(server: NameServer) -> None:
    server.zone["a.example", "A"] = ["169.254.169.254"]
    async with open_run_context(SystemClock(), Guard(LOOPBACK)) as context:
        asked = {"name": "a.example", "server": f"127.0.0.1:{server.port}"}
        assert (await check(context, **asked, answers_are=["169.254.169.254"])).status is Status.SUCCESS


async def test_an_answer_with_line_breaks_stays_one_line(context: RunContext, server: NameServer) -> None:
    server.zone["a.example", "TXT"] = ["one\ntwo\x1b[31m"]
    asked = {"name": "a.example", "type": "TXT", "server": f"127.0.0.1:{server.port}"}
    outcome = await check(context, **asked, answers_include=["x"])
    assert outcome.reason == "the TXT records of a.example lack 'x'; found: 'one two [31m'"


@pytest.mark.parametrize(
    "server", ["192.0.2.53", "192.0.2.53:5353", "ns1.a.example", "2001:db8::53", "[2001:db8::53]:5353"]
)
def test_a_server_may_be_written_in_these_ways(server: str) -> None:
    registry.parse_config(registry.kind_named("dns"), {"name": "a.example", "server": server})


@pytest.mark.parametrize(
    ("config", "path", "reason"),
    [
        ({}, "$.config", "needs the field 'name'"),
        ({"name": ""}, "$.config.name", "length"), ({"name": "a..example"}, "$.config.name", "not a domain name"),
        ({"name": "a b.example"}, "$.config.name", "not a domain name"),
        ({"name": "x" * 64 + ".example"}, "$.config.name", "not a domain name"),
        ({"name": "☕.example"}, "$.config.name", "by IDNA 2008"),
        ({"name": "a.example", "type": "ANY"}, "$.config.type", "ANY"),
        ({"name": "a.example", "server": "http://ns"}, "$.config.server", "not a name server such as"),
        ({"name": "a.example", "server": "ns:0"}, "$.config.server", "from 1 to 65535"),
        ({"name": "a.example", "server": "ns:65536"}, "$.config.server", "from 1 to 65535"),
        ({"name": "a.example", "server": "ns:port"}, "$.config.server", "not a name server such as"),
        ({"name": "a.example", "server": "ns,127.0.0.1"}, "$.config.server", "not a name server such as"),
        ({"name": "a.example", "server": "ns/1"}, "$.config.server", "not a host name"),
        ({"name": "a.example", "server": "a:b:c"}, "$.config.server", "not a name server such as"),
        ({"name": "a.example", "answers_are": ["a.example"]}, "$.config.answers_are", "not what A records hold"),
        ({"name": "a.example", "type": "AAAA", "answers_are": ["1.2.3.4"]}, "$.config.answers_are", "AAAA"),
        ({"name": "a.example", "type": "MX", "answers_include": ["m.example"]}, "$.config.answers_include", "10 mail"),
        ({"name": "a.example", "type": "SRV", "answers_include": ["a b c d"]}, "$.config.answers_include", "5060"),
        ({"name": "a.example", "answers_are": ["1.2.3.4"], "at_least": 2}, "$.config.at_least", "allows 1 answer"),
        ({"name": "a.example", "at_least": -1}, "$.config.at_least", ">= 0"),
    ],
)  # fmt: skip
def test_a_wrong_config_is_refused_with_reason_and_path(config: dict[str, object], path: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.parse_config(registry.kind_named("dns"), config)
    assert caught.value.path == path
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("config", "canonical"),
    [
        ({"name": "A.Example.", "type": "A", "at_least": 1}, '{"name":"a.example"}'),
        (
            {"name": "a.example", "answers_are": ["192.0.2.2", "192.0.2.1", "192.0.2.2"]},
            '{"answers_are":["192.0.2.1","192.0.2.2"],"name":"a.example"}',
        ),
        ({"name": "192.0.2.1", "type": "PTR"}, '{"name":"1.2.0.192.in-addr.arpa","type":"PTR"}'),
    ],
)
def test_a_config_is_kept_in_one_form(config: dict[str, object], canonical: str) -> None:
    kind = registry.kind_named("dns")
    parsed = registry.parse_config(kind, config)
    assert registry.canonical_config(kind, parsed) == canonical
    assert registry.parse_config(kind, canonical) == parsed
