"""``everwatch notify``: mail addresses and numbers of users that are to be verified."""

from collections.abc import Sequence
from contextlib import closing
from typing import Annotated

import orjson
import typer

from everwatch.cli.support.database_reading import print_columns
from everwatch.cli.support.notifier_by_api import contacts_by_api, verify_by_api
from everwatch.cli.support.notifier_reading import known_user, reading_notifier, rules_in
from everwatch.cli.support.options import AsJson, DataDir, UserArgument, settings_of
from everwatch.cli.support.run_parts import now_ms
from everwatch.cli.support.time_display import time_text
from everwatch.core.errors import EverwatchError, SettingsError
from everwatch.notifier.contacts import settle_contacts
from everwatch.notifier.storage import open_storage


def contacts(user: UserArgument, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the mail addresses and numbers of USER that were sent a code, and the instant of each confirmation.

    Example: `everwatch notify contacts u-1`
    """
    settings = settings_of(data_dir)
    found: Sequence[tuple[str, int, int]]
    if settings.api_url:
        found = [(each.address, each.asked_at, each.verified_at) for each in contacts_by_api(settings, user)]
    else:
        with reading_notifier(settings) as storage, storage.look() as work:
            found = [(each.shown, each.asked_at, each.verified_at) for each in work.contacts_of([user])]
    if as_json:
        told = [{"address": shown, "asked_at": asked, "verified_at": verified} for shown, asked, verified in found]
        typer.echo(orjson.dumps(told).decode())
        return
    rows = [(shown, time_text(asked), time_text(verified) if verified else "no") for shown, asked, verified in found]
    print_columns(("address", "asked", "verified"), rows)


def verify(
    user: UserArgument,
    code: Annotated[str, typer.Argument(help="Code from the message to the address.", show_default=False)] = "",
    trust: Annotated[
        bool, typer.Option("--trust", help="Take all addresses that the user has now as verified, without a code.")
    ] = False,
    resend: Annotated[bool, typer.Option("--resend", help="Send new codes to those that are not verified.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Confirm a mail address or number of USER by its CODE: alerts go to it from now on.

    Examples: `everwatch notify verify u-1 7K2MPQ4R` · `everwatch notify verify u-1 --trust`
    · `everwatch notify verify u-1 --resend`
    """
    if (bool(code), trust, resend).count(True) != 1:
        raise SettingsError("Give a code, or --trust, or --resend.")
    settings, now = settings_of(data_dir), now_ms()
    if settings.api_url:
        typer.echo(verify_by_api(settings, user, code, trust=trust))
        return
    rules = rules_in(settings)
    with closing(open_storage(settings)) as storage, storage.begin() as work:
        if code:
            wanted = code.strip().upper()
            found = [each for each in work.contacts_of([user]) if each.code and each.code == wanted]
            if not found:
                raise EverwatchError(f"{user} has no address that waits for this code.")
            work.verify_contacts([each.contact_id for each in found], now)
            shown = [each.shown for each in found]
        else:
            shown = settle_contacts(work, rules, known_user(work, user), now, trust=trust)
    done = "a new code is sent to" if resend else "verified:"
    typer.echo(f"{done} {', '.join(shown)}" if shown else f"{user} has no address that is not verified")
