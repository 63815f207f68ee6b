"""Readers of operators' status pages."""

from enum import StrEnum


class PageAccess(StrEnum):
    """Readers of a status page: all, those with its link, or those signed in at the console or with a token."""

    PUBLIC = "public"
    LINK = "link"
    SIGNED_IN = "signed-in"
