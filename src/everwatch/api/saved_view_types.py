"""Saved views of the console, as types."""

from typing import Annotated

import msgspec
from msgspec import Meta

from everwatch.encoding.input_models import UserId

ViewName = Annotated[str, Meta(min_length=1, max_length=60, pattern=r"\S")]
PageName = Annotated[str, Meta(pattern=r"^[a-z]+(-[a-z]+)*\Z", max_length=32)]
QueryText = Annotated[str, Meta(max_length=2_000, pattern=r"^[!-~]*\Z")]


class SavedView(msgspec.Struct, frozen=True, kw_only=True):
    """A view as it is stored and shown. ``query``: of the page's address. ``user_id``: the one user that it is for."""

    view_id: str
    page: PageName
    name: ViewName
    query: QueryText = ""
    user_id: UserId | None = None
    created_by: str = ""
    created_at: int = 0


class SavedViewBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A view to be saved. One of this page and name is replaced."""

    page: PageName
    name: ViewName
    query: QueryText = ""


class SavedViewList(msgspec.Struct, frozen=True):
    """Saved views by page and name."""

    items: list[SavedView]
