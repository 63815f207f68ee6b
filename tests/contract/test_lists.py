"""Lists and counts: each database gives what the store in memory gives, page by page, whatever way it takes.

All in one file: one set of questions, which each store answers.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise, product
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace
from support.new_databases import open_new_store

from everwatch.core.config import Settings
from everwatch.kafka.dead_letter_record import alike
from everwatch.model import (
    At,
    CommandOutcome,
    Every,
    Monitor,
    MonitorSpec,
    Origin,
    Reply,
    Result,
    State,
    Status,
    Transition,
    User,
)
from everwatch.rules import lifecycle
from everwatch.store import (
    CatalogueEntry,
    MemoryStore,
    Partition,
    Purge,
    Reader,
    Received,
    ResultStore,
    SinkBatch,
    SqlReader,
    open_reader,
)
from everwatch.store.interface import Unstorable
from everwatch.store.letters import LetterSelection, StoredLetter
from everwatch.store.paging import InvalidCursor, Sort, StoredPage
from everwatch.store.queries.sets import ListWays
from everwatch.store.selections import ALWAYS, ResultSelection, Selection, TransitionSelection, When

MINUTE = 60_000
CHANGELOGS = [Partition("everwatch-monitors-changelog", number) for number in range(2)]
RESULTS, TRANSITIONS = Partition("results", 0), Partition("transitions", 0)
LETTERS, REPLIES = Partition("dead-letters", 0), Partition("replies", 0)


class Twins:
    """A database and the store in memory, which are given the same."""

    def __init__(self, store: ResultStore, reader: Reader) -> None:
        self.stores: list[ResultStore] = [store, memory := MemoryStore()]
        self.readers: list[Reader] = [reader, memory]
        self.next = dict.fromkeys([*CHANGELOGS, RESULTS, TRANSITIONS, LETTERS, REPLIES], 0)

    def list_by(self, ways: ListWays) -> None:
        """Read lists of the database by these ways."""
        reader = self.readers[0]
        assert isinstance(reader, SqlReader)
        self.readers[0] = SqlReader(reader.engine, ways)

    def entries(self, *entries: CatalogueEntry) -> SinkBatch:
        """Store entries, each on the partition of its user."""
        received: list[Received[CatalogueEntry]] = []
        for entry in entries:
            source = CHANGELOGS[ord(entry.user_id[-1]) % len(CHANGELOGS)]
            received.append(Received(source, self.next[source], MINUTE, entry))
            self.next[source] += 1
        offsets = {source: self.next[source] for source in {each.source for each in received}}
        return self.apply(SinkBatch(MINUTE, offsets, entries=received))

    def put(self, *values: User | Monitor) -> SinkBatch:
        return self.entries(
            *(CatalogueEntry(v.user_id, v.monitor_id if isinstance(v, Monitor) else "", v) for v in values)
        )

    def events(self, source: Partition, field: str, values: list[Any]) -> None:
        received = [Received(source, offset, MINUTE, value) for offset, value in enumerate(values, self.next[source])]
        self.next[source] += len(values)
        self.apply(SinkBatch(MINUTE, {source: self.next[source]}, **{field: received}))

    def apply(self, batch: SinkBatch) -> SinkBatch:
        for store in self.stores:
            store.apply(batch)
        return batch

    def both(self, ask: Callable[[Reader], Any]) -> Any:
        """Return the answer of both databases, which must be the same."""
        given, expected = map(ask, self.readers)
        assert given == expected
        return given

    def pages(self, ask: Callable[[Reader, str], StoredPage[Any]]) -> list[list[Any]]:
        """All pages of a list, the same of both."""
        found, cursor = [], ""
        while True:
            given, expected = ask(self.readers[0], cursor), ask(self.readers[1], cursor)
            assert list(given) == list(expected)
            assert given.next == expected.next
            found.append(list(given))
            cursor = given.next
            if not cursor:
                return found


@pytest.fixture(params=["sqlite", "postgresql"])
def twins(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Twins]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    settings = Settings(data_dir=tmp_path, database=url)
    store = open_new_store(settings)
    reader = open_reader(settings)
    yield Twins(store, reader)
    reader.close()
    store.close()


def user(user_id: str, plan: str = "free", updated_at: int = 2_000) -> User:
    return User(user_id, plan, {}, (), 1_000, updated_at)


def monitor(user_id: str, monitor_id: str, kind: str = "http", **fields: Any) -> Monitor:
    given: dict[str, Any] = {"name": "", "host": "shop.example", "labels": (), "since": 1_000} | fields
    config = f'{{"url":"https://{given["host"]}/"}}' if kind == "http" else "{}"
    spec = MonitorSpec(monitor_id, kind, config, Every(MINUTE), name=given["name"], labels=given["labels"])
    put = lifecycle.first_put(user_id, spec, Origin.SIGNUP, given["since"], given["since"])
    return replace(put, state=given.get("state", State.NEW), state_since=given.get("state_since", given["since"]))


def population() -> list[User | Monitor]:
    """Some users and monitors of all sorts, among them ids with what SQL takes for something else."""
    chance = Random(7)
    found: list[User | Monitor] = []
    for number, user_id in enumerate(["anna", "Bert", "bea", "c_d", "c%d", "zoë", "ÖZ", "x'y", "bea-2"]):
        found.append(user(user_id, ["free", "pro", "gold"][number % 3], 2_000 + number % 4))
        for monitor_id in chance.sample(["shop", "Shop-2", "blog", "a_b", "a%b", "größe", "x\\y", "db"], 5):
            found.append(
                monitor(
                    user_id,
                    monitor_id,
                    chance.choice(["http", "http", "noop"]),
                    name=chance.choice(["", "Der Größte", "50% off", "Shop"]),
                    host=chance.choice(["shop.example", "Db.Example", "blog.test"]),
                    labels=chance.choice([(), (("env", "prod"),), (("env", "test"), ("team", "core"))]),
                    since=chance.choice([1_000, 2_000, 3_000]),
                    state=chance.choice([State.UP, State.UP, State.DOWN, State.PAUSED]),
                    state_since=chance.choice([1_000, 2_500, 4_000]),
                )
            )
    return found


SELECTIONS = [
    Selection(),
    Selection("bea"),
    Selection("nobody"),
    Selection("anna", state="up"),
    Selection(state="down"),
    Selection(state="late"),
    Selection(kind="noop"),
    Selection(plan="gold"),
    Selection(state="up", kind="http", plan="free"),
    Selection(labels=(("env", "prod"),)),
    Selection(labels=(("env", None),)),
    Selection(labels=(("env", "test"), ("team", None))),
    Selection(state="up", labels=(("env", "prod"),)),
    Selection(target="db.example"),
    Selection(target="shop.example", labels=(("env", "prod"),), state="down"),
    Selection(contains="SHOP"),
    Selection(contains="sh"),
    Selection(contains="größ"),
    Selection(contains="%"),
    Selection(contains="a_b"),
    Selection(contains="x\\y"),
    Selection(contains='"'),
    Selection(contains="shop\nshop"),
    Selection(contains="sh\0op"),
    Selection(prefix="\0sho"),
    # what the database cannot hold is in none
    Selection("an\0na"),
    Selection(plan="go\0ld"),
    Selection(labels=(("env", "pr\0od"),)),
    Selection(target="sh\0op.example"),
    Selection(prefix="sho"),
    Selection(prefix="s"),
    Selection(prefix="bea", contains="-2"),
    Selection(prefix="db", state="up"),
    Selection(contains="shop", kind="http", plan="pro"),
    Selection(plan="pro", contains="example", labels=(("env", "prod"),)),
]


def test_half_of_a_surrogate_pair_finds_nothing_or_is_refused_in_a_sentence(twins: Twins) -> None:
    twins.put(*population())
    reader = twins.readers[0]
    asked: list[Callable[[], object]] = [
        lambda: reader.list_monitors(Selection("an\ud800na")),
        lambda: reader.list_users(Selection(contains="an\ud800na")),
        lambda: reader.results(ResultSelection("an\ud800na")),
        lambda: reader.transitions(TransitionSelection(target="an\ud800na")),
        lambda: reader.monitor("an\ud800na", "shop"),
    ]
    for ask in asked:
        with suppress(Unstorable):
            assert not ask()
    with pytest.raises(Unstorable, match="the database"):
        reader.results(ResultSelection("an\ud800na"))


# what is few, and how many classes are read side by side: so each way to a page is taken
WAYS = [(5_000, 64), (0, 64), (0, 1), (12, 64)]


@pytest.mark.parametrize(("few", "classes"), WAYS)
def test_monitors_and_users_are_listed_by_every_filter_in_every_order(twins: Twins, few: int, classes: int) -> None:
    twins.list_by(ListWays(few, classes, classes_at_once=2))
    twins.put(*population())
    for which, sort, reverse in product(SELECTIONS, Sort, [False, True]):

        def of_monitors(reader: Reader, cursor: str) -> StoredPage[Any]:
            return reader.list_monitors(which, cursor, sort=sort, reverse=reverse, limit=7)  # noqa: B023

        def of_users(reader: Reader, cursor: str) -> StoredPage[Any]:
            return reader.list_users(which, cursor, sort=sort, reverse=reverse, limit=2)  # noqa: B023

        pages = twins.pages(of_monitors)
        assert all(len(page) == 7 for page in pages[:-1])
        if sort is not Sort.STATE_SINCE:
            twins.pages(of_users)
    assert len(twins.both(lambda reader: reader.list_monitors(Selection(contains="shop")))) > 7


@pytest.mark.parametrize("which", [Selection(), Selection(contains="shop"), Selection(state="down")])
def test_ids_of_monitors_are_listed_as_the_monitors_are(twins: Twins, which: Selection) -> None:
    twins.put(*population())
    cursor = ""
    while True:
        ids = twins.both(lambda reader: reader.list_monitor_ids(which, cursor, limit=7))
        whole = twins.both(lambda reader: reader.list_monitors(which, cursor, limit=7))
        assert list(ids) == [(each.user_id, each.monitor_id) for each in whole]
        # a job that was begun by pages of monitors goes on by pages of ids
        assert ids.next == whole.next
        if not (cursor := ids.next):
            break


def test_without_an_index_of_trigrams_the_same_is_found(twins: Twins) -> None:
    twins.put(*population())
    searches = [which for which in SELECTIONS if which.contains or which.prefix]
    with_index = [list(twins.readers[0].list_monitors(which)) for which in searches]
    twins.list_by(ListWays(by_trigrams=False))
    for which, found in zip(searches, with_index, strict=True):
        assert twins.both(lambda reader: reader.list_monitors(which)) == found  # noqa: B023
        twins.both(lambda reader: reader.list_users(which))  # noqa: B023


def test_lists_go_by_id_or_by_the_newest_first(twins: Twins) -> None:
    twins.put(
        user("anna", updated_at=5),
        user("bert", updated_at=9),
        monitor("anna", "a", state=State.DOWN, state_since=3_000),
        monitor("anna", "b", state=State.UP, state_since=5_000),
        monitor("bert", "a", since=4_000),
    )

    def listed(sort: Sort, *, reverse: bool = False) -> list[str]:
        found = twins.both(lambda reader: reader.list_monitors(Selection(), sort=sort, reverse=reverse))
        return [f"{each.user_id} {each.monitor_id}" for each in found]

    assert listed(Sort.ID) == ["anna a", "anna b", "bert a"]
    assert listed(Sort.ID, reverse=True) == ["bert a", "anna b", "anna a"]
    assert listed(Sort.STATE_SINCE) == listed(Sort.CHANGED) == ["anna b", "bert a", "anna a"]
    changed = twins.both(lambda reader: reader.list_users(Selection(), sort=Sort.CHANGED))
    assert [each.user.user_id for each in changed] == ["bert", "anna"]


def test_what_is_inserted_before_a_cursor_moves_no_page(twins: Twins) -> None:
    twins.put(user("anna"), *(monitor("anna", name) for name in "bdf"))
    first = twins.both(lambda reader: reader.list_monitors(Selection(), limit=2))
    cursor = first.next
    twins.put(monitor("anna", "a"), monitor("anna", "e"))
    twins.entries(CatalogueEntry("anna", "d", None))
    found = twins.both(lambda reader: reader.list_monitors(Selection(), cursor, limit=2))
    assert [each.monitor_id for each in found] == ["e", "f"]
    assert found.next == ""


@pytest.mark.parametrize("forged", ["x", "%%%", "ö", "AAAA", "A" * 10_000, "."])
def test_a_cursor_of_another_list_or_made_up_is_refused(twins: Twins, forged: str) -> None:
    twins.put(user("anna"), *(monitor("anna", name) for name in "abc"))
    askings: list[Callable[[Reader, str], object]] = [
        lambda reader, _: reader.list_monitors(Selection(), forged),
        lambda reader, cursor: reader.list_monitors(Selection(), cursor[:-2]),
        lambda reader, cursor: reader.list_monitors(Selection(state="up"), cursor),
        lambda reader, cursor: reader.list_monitors(Selection(), cursor, reverse=True),
        lambda reader, cursor: reader.list_users(Selection(), cursor),
        lambda reader, cursor: reader.results(after=cursor),
        lambda reader, _: reader.transitions(after=forged),
        lambda reader, _: reader.tasks(now=0, after=forged),
    ]
    for reader, ask in product(twins.readers, askings):
        cursor = reader.list_monitors(Selection(), limit=1).next
        with pytest.raises(InvalidCursor, match="take it as the page before gave it, with the same filters"):
            ask(reader, cursor)


def test_counts_follow_all_that_happens_and_are_the_same_when_it_is_told_again(twins: Twins) -> None:
    batch = twins.put(*population())
    assert sum(each.monitors for each in twins.both(lambda reader: reader.catalogue_counts()).monitors) == 45
    steps: list[list[CatalogueEntry]] = [
        # the plan of a user with monitors, and a monitor of a user that is not known yet
        [CatalogueEntry("anna", "", user("anna", "gold")), CatalogueEntry("late", "shop", monitor("late", "shop"))],
        [CatalogueEntry("late", "", user("late", "pro"))],
        # a state, a kind; twice in a batch
        [
            CatalogueEntry("late", "shop", monitor("late", "shop", state=State.UP)),
            CatalogueEntry("late", "shop", monitor("late", "shop", "noop", state=State.DOWN)),
        ],
        [
            CatalogueEntry("late", "shop", None),
            CatalogueEntry("late", "shop", monitor("late", "shop")),
            CatalogueEntry("bea", "", None),
        ],
        # gone, back with another plan, and its plan changes in the same batch
        [
            CatalogueEntry("anna", "", None),
            CatalogueEntry("anna", "", user("anna", "free")),
            CatalogueEntry("anna", "shop", monitor("anna", "shop")),
            CatalogueEntry("anna", "", user("anna", "pro")),
        ],
        [CatalogueEntry("nobody", "shop", None), CatalogueEntry("nobody", "", None)],
    ]
    batches = [batch]
    for step in steps:
        batches.append(twins.entries(*step))
        counts = twins.both(lambda reader: reader.catalogue_counts())
        listed = twins.both(lambda reader: reader.list_monitors(Selection()))
        assert sum(each.monitors for each in counts.monitors) == len(listed)
        # the plan by which they are found is the user's
        twins.both(lambda reader: reader.list_monitors(Selection(plan="pro"), sort=Sort.CHANGED))
    for store in twins.stores:
        store.forget_offsets(CHANGELOGS)
    for each in batches:
        twins.apply(each)
        twins.apply(each)
    assert twins.both(lambda reader: reader.catalogue_counts()) == counts
    assert twins.both(lambda reader: reader.list_monitors(Selection(contains="shop")))


def test_a_purged_user_is_counted_and_found_no_more(twins: Twins) -> None:
    twins.put(user("anna"), user("bert"), monitor("anna", "shop"), monitor("bert", "shop"))
    purge = Purge("anna", 50_000, 10**12, dict.fromkeys(CHANGELOGS, 1000))
    for store in twins.stores:
        store.begin_purge(purge)
        while store.purge_some(purge, 1):
            pass
    counts = twins.both(lambda reader: reader.catalogue_counts())
    assert (sum(each.monitors for each in counts.monitors), counts.users) == (1, {"free": 1})
    assert [m.user_id for m in twins.both(lambda reader: reader.list_monitors(Selection(contains="shop")))] == ["bert"]
    assert twins.both(lambda reader: reader.list_users(Selection(contains="ann"))) == []


def test_no_file_holds_a_part_of_a_purged_user_s_names(tmp_path: Path) -> None:
    store = open_new_store(Settings(data_dir=tmp_path))
    for offset, value in enumerate((user("bert"), user("#~|>"), monitor("#~|>", "shop", name="}{^<"))):
        entry = CatalogueEntry(value.user_id, "shop" if isinstance(value, Monitor) else "", value)
        received = Received(CHANGELOGS[0], offset, MINUTE, entry)
        store.apply(SinkBatch(MINUTE, {CHANGELOGS[0]: offset + 1}, entries=[received]))
    purge = Purge("#~|>", 50_000, 10**12, {CHANGELOGS[0]: 1000})
    store.begin_purge(purge)
    while store.purge_some(purge, 10):
        pass
    store.drop_old_pages()
    store.close()
    held = b"".join(file.read_bytes() for file in tmp_path.glob("everwatch.db*"))
    assert [part for part in (b"#~|", b"~|>", b"}{^", b"{^<") if part in held] == []


def test_a_renamed_monitor_is_found_by_its_new_name_only(twins: Twins) -> None:
    twins.put(user("anna"), monitor("anna", "m", name="Checkout"))
    twins.put(monitor("anna", "m", name="Basket", host="cart.example"))

    def found(text: str) -> int:
        return len(twins.both(lambda reader: reader.list_monitors(Selection(contains=text))))

    assert (found("checkout"), found("shop.example"), found("BASKET"), found("cart.")) == (0, 0, 1, 1)


def test_results_transitions_and_tasks_are_read_page_by_page(twins: Twins) -> None:
    results = [
        Result(u, m, at, "http", 1, s, "", at, 1.0, attempt)
        for at, u, m in product([1, 2, 2, 3], ["anna", "bert"], ["shop", "blog"])
        for s, attempt in ((Status.FAILURE, 1), (Status.SUCCESS, 2), (Status.LATE, 3))
    ]
    twins.events(RESULTS, "results", results)
    transitions = [
        Transition(u, m, at, State.NEW, State.UP, "", 1, at % 2 == 0, False, "http", "a.example", "pro", {"a": "b"}, 7)
        for at, u, m in product([1, 2, 3], ["anna", "bert"], ["shop", "blog"])
    ]
    twins.events(TRANSITIONS, "transitions", transitions)
    twins.put(*(monitor_at(u, m, at) for at, u, m in product([9_000, 9_001], ["anna", "bert"], ["t", "u"])))

    def count(ask: Callable[[Reader, str], StoredPage[Any]]) -> int:
        return sum(map(len, twins.pages(ask)))

    wanted: list[dict[str, Any]] = [{}, {"user_id": "anna"}, {"user_id": "anna", "monitor_id": "shop"}, {"kind": "tcp"}]
    for given in [*wanted, {"status": "failure"}, {"status": "late"}, {"status": "success"}]:
        asked = ResultSelection(**given)
        for when in ALWAYS, When(2), When(2, 3):
            count(lambda reader, cursor: reader.results(asked, when=when, after=cursor, limit=5))  # noqa: B023
    failures = ResultSelection(status="failure")
    assert count(lambda reader, cursor: reader.results(failures, after=cursor, limit=5)) == 12
    for given in [*wanted, {"plan": "pro"}, {"target": "b.example"}, {"state": "up"}, {"alerts": True}]:
        wanted_ones = TransitionSelection(**given)
        for when in ALWAYS, When(2, 3):
            count(lambda reader, cursor: reader.transitions(wanted_ones, when=when, after=cursor, limit=5))  # noqa: B023
    [told] = twins.both(lambda reader: reader.transitions(TransitionSelection("anna", "shop", plan="pro"), limit=1))
    assert (told.labels, told.lasted_ms, told.target) == ({"a": "b"}, 7, "a.example")
    for given in [{}, {"user_id": "bert"}, {"status": "pending"}, {"status": "running"}]:
        count(lambda reader, cursor: reader.tasks(**given, now=9_000, after=cursor, limit=3))  # noqa: B023
    assert count(lambda reader, cursor: reader.tasks(now=9_000, after=cursor, limit=3)) == 4


def monitor_at(user_id: str, monitor_id: str, at: int) -> Monitor:
    spec = MonitorSpec(monitor_id, "http", "{}", At(at))
    return Monitor(user_id, spec, Origin.COMMAND, 1, 1_000, state_since=1_000)


def refusals() -> list[StoredLetter]:
    chance = Random(11)
    reasons = ["there is no plan '{}'", "ÖDE Frist von {} s, 50%", "not valid JSON: at {}", "a_b", ""]
    found = []
    for number in range(120):
        reason = chance.choice(reasons).format(number)
        found.append(
            StoredLetter(
                partition=chance.randrange(3),
                offset=number,
                refused_at=chance.choice([1_000, 2_000, 3_000, 4_000 + number]),
                reason=reason,
                alike=alike(reason),
                path="",
                code=chance.choice(["invalid", "quota", ""]),
                refused_by="worker",
                source_topic=chance.choice(["signups", "signals", ""]),
                source_partition=0,
                source_offset=number,
                source_ms=0,
                user_id=chance.choice(["anna", "bert", ""]),
                key="",
                encoding="text",
                value="x",
                problem="no",
            )
        )
    return found


@pytest.mark.parametrize(
    "which",
    [
        LetterSelection(),
        LetterSelection("anna"),
        LetterSelection(source_topic="signups"),
        LetterSelection(code="quota"),
        LetterSelection(alike="there is no plan '…'"),
        LetterSelection("bert", "signals", "invalid"),
        LetterSelection(text="NO PLAN '1"),
        LetterSelection(text="Öde"),
        LetterSelection(text="ÖDE frist"),
        LetterSelection("anna", text="%"),
        LetterSelection("nobody"),
    ],
)
@pytest.mark.parametrize("when", [When(), When(2_000, 4_050), When(5_000)])
def test_dead_letters_are_listed_and_counted_by_user_source_code_reason_and_window(
    twins: Twins, which: LetterSelection, when: When
) -> None:
    twins.events(LETTERS, "letters", refusals())
    pages = twins.pages(lambda reader, after: reader.dead_letters(which, when=when, after=after, limit=7))
    counts = twins.both(lambda reader: reader.count_letters(which, when=when))
    assert sum(each.letters for each in counts) == sum(map(len, pages))
    assert all(later.letters <= former.letters for former, later in pairwise(counts))
    with pytest.raises(InvalidCursor):
        twins.readers[0].dead_letters(which, when=when, after="abcd")


def test_replies_are_listed_page_by_page(twins: Twins) -> None:
    answers = [
        Reply(
            f"c-{n % 7}", ["anna", "bert"][n % 2], "", "pause", list(CommandOutcome)[n % 4], "", "", 0, 1_000 + n // 3
        )
        for n in range(60)
    ]
    twins.events(REPLIES, "replies", answers)
    for asked_id in ("", "c-3"):
        pages = twins.pages(lambda reader, after, own=asked_id: reader.replies("anna", own, after=after, limit=4))
        assert sum(map(len, pages)) == len(
            {a for a in answers if a.user_id == "anna" and asked_id in ("", a.command_id)}
        )
