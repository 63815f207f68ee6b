"""Status of one table of the database."""

import msgspec


class ThinningStatus(msgspec.Struct, frozen=True):
    """Thinning of results: of those older than ``after`` (ms; 0: of none) only changes and failures are kept.

    ``after_of_plans``: the same of users of other plans. ``done_until``: days before this instant are thinned; None:
    none is. ``next``: when the next day is old enough; both are of users whose plans say nothing else.
    """

    after: int
    after_of_plans: dict[str, int]
    done_until: int | None = None
    next: int | None = None


class TableStatus(msgspec.Struct, frozen=True):
    """One table. Instants and spans in ms; None: there is none, or it is not known.

    ``rows``: exact in SQLite, the server's estimate in PostgreSQL. ``size``: bytes with indexes, which SQLite does not
    tell. ``oldest``: the instant of the oldest row. ``kept``: for how long rows are kept, 0: for good. ``next``: when
    something is too old next, and ``next_what``: what. ``kept_of_plans``: for how long rows of users of other plans are
    kept, by plan. Of results ``thinning`` says which become changes and failures only.
    """

    table: str
    rows: int
    size: int | None = None
    oldest: int | None = None
    kept: int = 0
    next: int | None = None
    next_what: str = ""
    kept_of_plans: dict[str, int] = {}
    thinning: ThinningStatus | None = None
