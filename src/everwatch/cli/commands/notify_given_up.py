"""``everwatch notify given-up``: addresses that get nothing any more."""

from collections.abc import Sequence

import orjson
import typer
from msgspec import to_builtins

from everwatch.api.alerting import channel_view
from everwatch.api.notifier_views import ChannelView
from everwatch.cli.support.database_reading import print_columns
from everwatch.cli.support.notifier_by_api import channels_by_api
from everwatch.cli.support.notifier_reading import reading_notifier
from everwatch.cli.support.options import AsJson, DataDir, OptionalUser, settings_of
from everwatch.cli.support.time_display import time_text


def given_up(user: OptionalUser = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List addresses that were given up (of USER, or of all): nothing is sent to them, and the next route takes over.

    An address is given up when its receiver says that it is gone, or when a user's address has failed five times in a
    row over a day. `everwatch notify test` brings it back once a test gets through. Messages that were given up are
    listed by `everwatch notify deliveries --state dead`.

    Examples: `everwatch notify given-up` · `everwatch notify given-up u-1`
    """
    settings = settings_of(data_dir)
    found: Sequence[ChannelView]
    if settings.api_url:
        found = channels_by_api(settings, user or "")
    else:
        with reading_notifier(settings) as storage, storage.look() as work:
            found = [channel_view(each) for each in work.list_channels(user or "")]
    if as_json:
        typer.echo(orjson.dumps([to_builtins(each) for each in found]).decode())
        return
    rows = [
        (
            each.user_id or "operators",
            each.route,
            each.target,
            time_text(each.disabled_at),
            str(each.failures),
            each.reason,
        )
        for each in sorted(found, key=lambda each: each.disabled_at)
    ]
    print_columns(("user", "route", "address", "given up", "failures", "reason"), rows)
