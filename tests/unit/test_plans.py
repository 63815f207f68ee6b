"""A file of plans: what is refused and where it says so, what a signup becomes, and what a plan allows.

All in one file: one file format, its refusals and its effects.
"""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from everwatch.core.errors import InvalidInput, WrongPlans
from everwatch.encoding import avro_schemas
from everwatch.model import At, Every, MonitorSpec, Scalar, Signup
from everwatch.plans.placeholders import PlaceholderUser
from everwatch.plans.plan import Plans
from everwatch.plans.plans_parser import LARGEST_FILE_BYTES, plans_of
from everwatch.rules.admission import admit_signup

PATH = Path("/etc/everwatch/plans.toml")
SITE = """
[plans.pro]
[[plans.pro.monitors]]
monitor_id = "site"
config = { url = "https://{{user.attributes.site}}/?of={{user.id}}" }
schedule = { every = "1m" }
"""


def plans(text: str) -> Plans:
    return plans_of(text.encode(), PATH)


def signed_up(
    text: str,
    attributes: dict[str, Scalar] | None = None,
    *own: dict[str, Any],
    plan: str = "pro",
    user_id: str = "u-1",
    asked_at: int = 0,
) -> Signup:
    given = {"user_id": user_id, "plan": plan, "attributes": attributes or {}, "monitors": list(own)}
    return admit_signup(orjson.dumps(given), asked_at, plans(text))


def refused(
    text: str, attributes: dict[str, Scalar] | None = None, *own: dict[str, Any], **more: Any
) -> tuple[str, str]:
    with pytest.raises(InvalidInput) as caught:
        signed_up(text, attributes, *own, **more)
    return caught.value.reason, caught.value.path


def ids(signup: Signup) -> list[str]:
    return [spec.monitor_id for spec in signup.monitors]


def only(signup: Signup) -> MonitorSpec:
    (spec,) = signup.monitors
    return spec


def noop(monitor_id: str, every: str = "1h") -> dict[str, Any]:
    return {"monitor_id": monitor_id, "kind": "noop", "schedule": {"every": every}}


def of(body: str, *, plan: str = "") -> str:
    """A file with one plan of one monitor."""
    return f"[plans.pro]\n{plan}\n[[plans.pro.monitors]]\n{body}\n"


# --- what is wrong with a file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "plan", "field", "reason"),
    [
        ("", "", "plans", "there are no plans in it; a plan is a table [plans.NAME]"),
        ("plans = 3", "", "plans", "there are no plans in it; a plan is a table [plans.NAME]"),
        ("n = " + 5_000 * "9", "", "", "not valid TOML: Exceeds the limit"),
        ("[plan.pro]", "", "plan", "there is no such field; a plan is a table [plans.NAME]"),
        ("[plans]\npro = 1", "pro", "", "a plan is a table [plans.NAME]"),
        ('[plans."a{b"]', "a{b", "", "a plan's name has no braces"),
        ('[plans.""]', "", "", "this cannot be a plan's name: this must not be empty"),
        ("[plans.pro]\nmax_monitor = 3", "pro", "max_monitor", "there is no field 'max_monitor'"),
        ("[plans.pro]\nmax_monitors = -1", "pro", "max_monitors", "this must be at least 0"),
        ("[plans.pro]\nmax_monitors = '3'", "pro", "max_monitors", "expected a whole number or null, got text"),
        ("[plans.pro.keep]\nresults = -1", "pro", "keep.results", "this must be at least 0"),
        ("[plans.pro.keep]\nresult = 1", "pro", "keep.result", "there is no field 'result'"),
        ("[plans.pro]\nkeep = 90", "pro", "keep", "expected an object, got a whole number"),
        ("[plans.pro]\nshortest_interval = 0", "pro", "shortest_interval", "0 is not between 1 ms and 400 days"),
        (of("kind = 'nope'"), "pro", "monitors[0].kind", "there is no kind 'nope'; known kinds: dns, "),
        (of("kin = 'noop'"), "pro", "monitors[0].kin", "there is no field 'kin'"),
        (of("kind = 'noop'\nschedule = { every = 'x' }"), "pro", "monitors[0].schedule.every", "'x' is not a duration"),
        (of("config = { ur = 'x' }"), "pro", "monitors[0].config.ur", "the kind 'http' has no field 'ur'"),
        (of("kind = 'noop'", plan="max_monitors = 0"), "pro", "max_monitors", "the plan itself has 1 monitors"),
        (
            of("kind = 'noop'\n[[plans.pro.monitors]]\nkind = 'noop'"),
            "pro",
            "monitors[1].monitor_id",
            "a second monitor has the id 'noop'",
        ),
        (
            "".join(
                "[[plans.pro.monitors]]\nkind = 'noop'\nschedule = { cron = '0 0 29 2 *', max_runs = 1000 }\n"
                f"monitor_id = 'm-{number}'\n"
                for number in range(11)
            ),
            "pro",
            "monitors",
            "by the wall clock the max_runs of a signup must be at most 10000 together, and these are 11000",
        ),
        (
            of("kind = 'noop'\nschedule = { every = '10s' }", plan="shortest_interval = '1m'"),
            "pro",
            "monitors[0].schedule",
            "the plan 'pro' allows one run in 60 s, and this schedule has runs 10 s apart",
        ),
        # with a name in it, what nothing is filled into is judged all the same
        (
            of(
                "config = { url = '{{user.attributes.x}}' }\nschedule = { every = '10s' }",
                plan="shortest_interval = 60",
            ),
            "pro",
            "monitors[0].schedule",
            "the plan 'pro' allows one run in 60 s",
        ),
        (
            of("payload = '{{user.id}}'\nconfig = { ur = 'x' }"),
            "pro",
            "monitors[0].config.ur",
            "the kind 'http' has no",
        ),
        (
            of("kind = 'noop'\npayload = '{{user.id}}'", plan="shortest_interval = '2m'"),
            "pro",
            "monitors[0].schedule",
            "the plan 'pro' allows one run in 2 min, and this schedule has runs 60 s apart",
        ),
        (of("payload = '{{user.id}}'\nkind = 'nope'"), "pro", "monitors[0].kind", "there is no kind 'nope'"),
        (
            of("payload = '{{user.id}}'\npolicy = { timeot = 1 }"),
            "pro",
            "monitors[0].policy.timeot",
            "there is no field",
        ),
        (of("kin = '{{user.id}}'"), "pro", "monitors[0].kin", "there is no field 'kin'"),
        (
            of("""config = { url = "{{user.attributes.url or 'nowhere'}}" }"""),
            "pro",
            "monitors[0].config.url",
            "",
        ),
        (
            of('payload = "{{user.name}}"'),
            "pro",
            "monitors[0].payload",
            "{{user.name}} is not known; known are user.id,",
        ),
        (of('payload = "{{user.id or 3}}"'), "pro", "monitors[0].payload", "{{user.id or 3}} is not known"),
        (of('payload = "{{{user.id}}}"'), "pro", "monitors[0].payload", "{{{user.id}} is not known"),
        (
            of('payload = { "{{user.id}}" = 1 }'),
            "pro",
            'monitors[0].payload["{{user.id}}"]',
            "names of the user may stand in values, not in keys",
        ),
        (of("payload = [1, inf]"), "pro", "monitors[0].payload[1]", "this is not a finite number"),
        (of("payload = 99999999999999999999"), "pro", "monitors[0].payload", "this does not fit into 64 bits"),
        (
            of(f"payload = {'[' * 40}{']' * 40}"),
            "pro",
            "monitors[0].payload",
            "this is nested more than 32 levels deep",
        ),
    ],
)
def test_a_wrong_file_is_told_with_file_plan_and_field(text: str, plan: str, field: str, reason: str) -> None:
    with pytest.raises(WrongPlans) as caught:
        plans(text)
    error = caught.value
    assert (error.plan, error.field.startswith(field)) == (plan, True), str(error)
    assert error.reason.startswith(reason)
    where = [str(PATH), f"plan {plan!r}" if plan else "", error.field]
    assert str(error) == f"{', '.join(part for part in where if part)}: {error.reason}"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[plans.pro\n", "not valid TOML: Expected ']' at the end of a table declaration (at line 1, column 11)"),
        (b"[plans.a]\n[plans.a]\n", "not valid TOML: Cannot declare ('plans', 'a') twice (at line 2, column 9)"),
        (b"\xff", "not valid TOML: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b"#" * (LARGEST_FILE_BYTES + 1), f"it has more than {LARGEST_FILE_BYTES} bytes"),
        (b"a = " + b"[" * 100_000, ""),
    ],
)
def test_a_file_that_cannot_be_read_as_toml_is_told_in_a_sentence(data: bytes, reason: str) -> None:
    with pytest.raises(WrongPlans) as caught:
        plans_of(data, PATH)
    assert str(caught.value).startswith(f"{PATH}: {reason}")


# --- what a signup becomes --------------------------------------------------------------------------------------------


def test_a_plans_monitors_come_before_the_signups_own() -> None:
    found = signed_up(SITE, {"site": "example.com"}, noop("mine"))
    assert ids(found) == ["site", "mine"]
    assert orjson.loads(found.monitors[0].config) == {"url": "https://example.com/?of=u-1"}
    assert found.monitors[0].schedule == Every(60_000)
    assert (found.plan, found.attributes) == ("pro", {"site": "example.com"})


def test_the_signups_own_monitor_wins_over_the_plans_which_then_needs_no_attribute() -> None:
    assert only(signed_up(SITE, {}, noop("site"))).kind == "noop"


def test_an_avro_signup_gets_its_plan_too() -> None:
    data = avro_schemas.encode("signup", {"user_id": "u-1", "plan": "pro", "attributes": {"site": "a.example"}})
    assert ids(admit_signup(data, 0, plans(SITE))) == ["site"]


def test_a_plan_that_is_not_in_the_file_is_refused_naming_those_that_are() -> None:
    assert refused(SITE, plan="prp") == ("there is no plan 'prp'; there are default, pro", "$.plan")
    many = "\n".join(f"[plans.p{number:03}]" for number in range(100))
    assert refused(many)[0].endswith("p018 and 81 more")


def test_default_without_an_entry_means_no_monitors_and_no_quotas() -> None:
    own = [noop(f"m-{number}", "1s") for number in range(10)]
    assert ids(signed_up(SITE, {}, *own, plan="default")) == [monitor["monitor_id"] for monitor in own]


def test_default_with_an_entry_is_a_plan_like_any_other() -> None:
    assert ids(signed_up("[plans.default]\n[[plans.default.monitors]]\nkind = 'noop'", plan="default")) == ["noop"]


def test_without_a_file_a_plan_is_only_a_word() -> None:
    assert admit_signup(b'{"user_id": "u", "plan": "whatever"}').plan == "whatever"


def test_a_name_alone_keeps_its_type_and_within_a_text_it_is_written_out() -> None:
    text = of(
        """kind = "webhook"
config = { url = "https://a.example/" }
schedule = { in = "1h" }
policy = { failures_to_down = "{{ user.attributes.tries or 3 }}" }
[plans.pro.monitors.payload]
text = "{{user.attributes.text}}"
number = "{{user.attributes.number}}"
flag = "{{user.attributes.flag or true}}"
written = "{{user.attributes.number}}, {{user.attributes.flag or true}}, {{user.attributes.text}}!"
dotted = "{{user.attributes.a.b-c or ''}}"
plan = ["{{user.plan}}", "{{user.id}}"]
day = 2026-11-21
kinds_own = "{{payload.x}} {{user_id}} {{'{{'}} {{ unclosed"
"""
    )
    spec = only(signed_up(text, {"text": 'a "b"', "number": 1.5, "flag": None}, asked_at=1_000))
    assert orjson.loads(spec.payload) == {
        "text": 'a "b"',
        "number": 1.5,
        "flag": True,
        "written": '1.5, true, a "b"!',
        "dotted": "",
        "plan": ["pro", "u-1"],
        "day": "2026-11-21",
        "kinds_own": "{{payload.x}} {{user_id}} {{'{{'}} {{ unclosed",
    }
    assert spec.policy.failures_to_down == 3
    # to be counted from the user's registration
    assert spec.schedule == At(-3_600_000)


def test_a_delay_of_the_signups_own_counts_from_when_it_was_produced_and_one_of_the_plan_does_not_yet() -> None:
    text = of("monitor_id = 'welcome'\nkind = 'noop'\nschedule = { in = '1h' }")
    own = noop("own") | {"schedule": {"in": "2h"}}
    of_plan, of_signup = signed_up(text, {}, own, asked_at=1_000).monitors
    assert (of_plan.schedule, of_signup.schedule) == (At(-3_600_000), At(7_201_000))


def test_an_instant_may_be_a_date_of_toml() -> None:
    spec = only(signed_up(of("kind = 'noop'\nschedule = { at = 2026-11-21T09:00:00+01:00 }")))
    assert spec.schedule == At(1_795_248_000_000)


@pytest.mark.parametrize(
    ("attributes", "reason", "path"),
    [
        ({}, "monitors[0].config.url needs this attribute, and the signup has none", "$.attributes.site"),
        ({"site": None}, "monitors[0].config.url needs this attribute, and the signup has none", "$.attributes.site"),
        ({"site": "a" * 4_097}, "monitors[0].config.url takes at most 4096 characters", "$.attributes.site"),
        (
            {"site": "{{user_id}}"},
            "monitors[0].config.url takes no text with {{, which would be a template",
            "$.attributes.site",
        ),
    ],
)
def test_what_cannot_be_filled_in_refuses_the_signup_with_file_plan_and_field(
    attributes: dict[str, Scalar], reason: str, path: str
) -> None:
    assert refused(SITE, attributes) == (f"plan 'pro' of plans.toml: {reason}", path)


def test_what_is_filled_in_is_judged_as_if_the_signup_had_said_it() -> None:
    text = SITE.replace("?of={{user.id}}", "")
    reason, path = refused(text, {"site": "a b"})
    assert reason.startswith("plan 'pro' of plans.toml: monitors[0].config.url: a URL has no spaces")
    assert path == "$.attributes.site"
    assert refused(SITE, {"site": "a b"})[1] == "$.attributes"


def test_a_schedule_that_is_filled_in_is_held_to_the_quota() -> None:
    text = of("kind = 'noop'\nschedule = { every = '{{user.attributes.pace}}' }", plan="shortest_interval = '1m'")
    assert ids(signed_up(text, {"pace": "1m"})) == ["noop"]
    assert refused(text, {"pace": "59s"}) == (
        "plan 'pro' of plans.toml: monitors[0].schedule: the plan 'pro' allows one run in 60 s, and this schedule has"
        " runs 59 s apart",
        "$.attributes.pace",
    )


def test_half_a_brace_in_a_value_does_not_make_a_template_with_its_neighbour() -> None:
    text = of("""kind = "webhook"
config = { url = "https://a.example/", template = "{{user.attributes.a}}{{user.attributes.b}}{x" }""")
    assert signed_up(text, {"a": "}}", "b": "}"})
    for a, b in (("{", "{payload.secret}}"), ("", "{"), ("x{", "{")):
        assert refused(text, {"a": a, "b": b})[0].endswith("takes no text that makes {{ with what stands beside it")


def test_ids_that_come_out_alike_are_refused_and_the_signups_own_wins_over_them() -> None:
    text = of("monitor_id = 'm-{{user.attributes.n}}'\nkind = 'noop'\n[[plans.pro.monitors]]\nkind = 'noop'")
    assert ids(signed_up(text, {"n": 1})) == ["m-1", "noop"]
    assert ids(signed_up(text, {"n": 1}, noop("m-1"))) == ["noop", "m-1"]
    alike = of("monitor_id = '{{user.attributes.n}}'\nkind = 'noop'\n[[plans.pro.monitors]]\nkind = 'noop'")
    assert refused(alike, {"n": "noop"}) == (
        "plan 'pro' of plans.toml: filled in, two of its monitors have the id 'noop'",
        "$.plan",
    )


def test_what_was_filled_in_for_one_user_is_not_taken_for_another() -> None:
    found = plans(
        of("kind = 'webhook'\nconfig = { url = 'https://a.example/' }\npayload = '{{user.attributes.x or 0}}'")
    )

    def payload(value: Scalar) -> str:
        data = orjson.dumps({"user_id": "u", "plan": "pro", "attributes": {"x": value, "y": "never mind"}})
        return only(admit_signup(data, 0, found)).payload

    values: list[Scalar] = [1, True, 1.0, "1", None, 0.0, -0.0, False, "true"]
    for _ in range(2):
        assert [payload(value) for value in values] == [
            "1",
            "true",
            "1.0",
            '"1"',
            "0",
            "0.0",
            "-0.0",
            "false",
            '"true"',
        ]


def test_one_attribute_cannot_make_a_signup_larger_than_a_signup_may_be() -> None:
    many = ", ".join(["'{{user.attributes.x}}'"] * 15)
    body = f"kind = 'webhook'\nconfig = {{ url = 'https://a.example/' }}\npayload = [{many}]"
    text = of("\n[[plans.pro.monitors]]\n".join(f"monitor_id = 'm-{n}'\n{body}" for n in range(10)))
    assert len(signed_up(text, {"x": "x" * 1_000}).monitors) == 10
    assert refused(text, {"x": "x" * 4_000}) == (
        "plan 'pro' of plans.toml: filled in, its monitors take more than 524288 characters",
        "$.attributes",
    )


def test_shown_is_what_a_signup_would_have_to_say() -> None:
    found = plans(SITE).all["pro"].filled(PlaceholderUser("u-1", "pro", {"site": "a.example"}))
    assert signed_up(SITE, {"site": "a.example"}).monitors == signed_up("[plans.pro]", {}, *found).monitors


# --- what a plan allows -----------------------------------------------------------------------------------------------


def test_a_signup_with_more_monitors_than_the_plan_allows_is_refused() -> None:
    text = of("kind = 'noop'", plan="max_monitors = 2")
    assert ids(signed_up(text, {}, noop("a"))) == ["noop", "a"]
    assert ids(signed_up(text, {}, noop("noop"), noop("a"))) == ["noop", "a"]
    assert refused(text, {}, noop("a"), noop("b")) == (
        "the plan 'pro' allows 2 monitors, and these would be 3 (1 of the plan and 2 of the signup)",
        "$.monitors",
    )


def test_a_plan_and_a_signup_together_have_no_more_than_a_signup_may() -> None:
    own = [noop(f"m-{number}") for number in range(1_000)]
    for quota in ("", "max_monitors = 5000"):
        assert refused(of("kind = 'noop'", plan=quota), {}, *own) == (
            "the plan 'pro' allows 1000 monitors, and these would be 1001 (1 of the plan and 1000 of the signup)",
            "$.monitors",
        )


def test_a_plan_and_a_signup_together_have_no_more_runs_by_the_wall_clock_than_a_signup_may() -> None:
    bounded = {"cron": "0 0 29 2 *", "max_runs": 1_000}
    text = of("kind = 'noop'\nschedule = { cron = '0 9 * * *', max_runs = 1 }")
    own = [noop(f"m-{number}") | {"schedule": bounded} for number in range(10)]
    assert len(ids(signed_up(text, {}, *own[1:]))) == 10
    reason = "by the wall clock the max_runs of a signup must be at most 10000 together, and these are 10001"
    assert refused(text, {}, *own) == (reason, "$.monitors")


@pytest.mark.parametrize(
    ("schedule", "apart"),
    [({"every": "59s"}, "59 s"), ({"cron": "0,1 9 * * 1"}, "60 s"), ({"cron": "0 9,10 * * *"}, "1 h")],
)
def test_a_schedule_with_runs_too_close_together_is_refused(schedule: dict[str, Any], apart: str) -> None:
    text = "[plans.pro]\nshortest_interval = '61m'"
    assert refused(text, {}, noop("a", "61m"), noop("b") | {"schedule": schedule}) == (
        f"the plan 'pro' allows one run in 1 h 1 min, and this schedule has runs {apart} apart",
        "$.monitors[1].schedule",
    )


def test_delayed_tasks_are_free_of_the_shortest_interval_and_the_kinds_own_schedule_is_not() -> None:
    text = "[plans.pro]\nshortest_interval = '1h'"
    assert signed_up(text, {}, noop("a") | {"schedule": {"in": "1s"}})
    assert refused(text, {}, {"kind": "http", "config": {"url": "https://a.example/"}})[1] == "$.monitors[0].schedule"


# --- the documents ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", ["docs/plans.md", "README.md"])
def test_the_example_in_the_documents_is_a_right_file(document: str) -> None:
    text = (Path(__file__).parents[2] / document).read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert "site" in ids(signed_up(example, {"site": "example.com"}))
