"""``everwatch api-token``: tokens of the HTTP API and login links of the console, on the topic ``access``."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
import orjson
import typer

from everwatch.api.access_views import TokenBody, TokenLabel, TokenView
from everwatch.api.address import url_of
from everwatch.api.permissions import Role
from everwatch.api.tokens import TokenLimits, TokenRecord, new_token
from everwatch.cli.support.access_by_api import login_path_by_api, revoke_by_api, token_by_api, tokens_by_api
from everwatch.cli.support.access_records import delete_access, put_access, stored_access
from everwatch.cli.support.database_reading import print_columns
from everwatch.cli.support.login_links import new_login_link
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import (
    AsJson,
    Bootstrap,
    CommonOptions,
    DataDir,
    duration_of,
    ready_broker,
    settings_of,
)
from everwatch.cli.support.run_parts import now_ms
from everwatch.cli.support.time_display import time_text
from everwatch.core.clock import SystemClock
from everwatch.core.errors import EverwatchError, SettingsError
from everwatch.encoding.input_models import Name, UserId

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke tokens of the HTTP API, and make login links.")


class LimitOptions(NamedTuple):
    """Options that limit a token."""

    user: Annotated[str | None, typer.Option(help="Limit the token to this user.", show_default=False)] = None
    label: Annotated[
        str | None,
        typer.Option(help="Limit the token to monitors with this label: KEY=VALUE, or KEY.", show_default=False),
    ] = None


@app.command()
@with_options(limits=LimitOptions, common=CommonOptions)
def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Purpose of the token, e.g. grafana.", show_default=False)
    ],
    role: Annotated[Role, typer.Option(help="Role of the token.")] = Role.VIEWER,
    *,
    limits: LimitOptions,
    expires: Annotated[
        str | None, typer.Option(help="Validity, e.g. 90d; default: unlimited.", show_default=False)
    ] = None,
    secrets: Annotated[
        bool, typer.Option("--secrets", help="Write secrets in configs, which are redacted otherwise.")
    ] = False,
    common: CommonOptions,
) -> None:
    """Make a token and print it, this once: only its hash is stored. API processes accept it at once.

    A viewer reads; an operator writes, runs and sends signals too; an admin also makes tokens.

    Examples: `everwatch api-token create grafana` · `everwatch api-token create ci --role operator --expires 90d` ·
    `everwatch api-token create shop --role operator --user u-1` · `everwatch api-token create team --label team=shop`
    """
    _check("NAME", name, Name)
    user, label = limits
    if user is not None:
        _check("--user", user, UserId)
    if label is not None:
        _check("--label", label, TokenLabel)
    if secrets and (user is not None or label is not None):
        raise SettingsError("A token that is limited to a user or a label shows no secrets: omit --secrets.")
    now = now_ms()
    expires_at = 0 if expires is None else now + duration_of("--expires", expires)
    settings = settings_of(common.data_dir, common.bootstrap_servers)
    stored: TokenRecord | TokenView
    if settings.api_url:
        text, stored = token_by_api(settings, TokenBody(name, role, user, expires_at, secrets, label))
    else:
        made = new_token(
            name,
            role,
            now,
            limits=TokenLimits(user or "", label or ""),
            expires_at=expires_at,
            with_secrets=secrets,
        )
        put_access(settings, made.record)
        text, stored = made.text, made.record
    if common.as_json:
        typer.echo(orjson.dumps({"token": text, **_plain(stored)}).decode())
        return
    typer.echo(text)
    typer.echo(f"This is shown once. Revoke it: everwatch api-token revoke {stored.token_id}", err=True)


@app.command("list")
def list_(data_dir: DataDir = None, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """List tokens, without their text; with --json one object a line.

    Example: `everwatch api-token list --json | jq -r .token_id`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    records: Sequence[TokenRecord | TokenView]
    records = tokens_by_api(settings) if settings.api_url else list(stored_access(settings).records())
    if as_json:
        for record in records:
            typer.echo(orjson.dumps(_plain(record)).decode())
        return
    if not records:
        typer.echo("there are no tokens")
        return
    header = ("id", "name", "role", "user", "created", "expires")
    print_columns(header, map(_row, records))


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As 'api-token list' prints it.", show_default=False)],
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
) -> None:
    """Revoke a token; API processes refuse it at once.

    Example: `everwatch api-token revoke 3f2a9c0d1b7e4f55`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    if settings.api_url:
        known = next((each for each in tokens_by_api(settings) if each.token_id == token_id), None)
        if known is None:
            raise _unknown(token_id)
        revoke_by_api(settings, token_id)
        typer.echo(f"revoked: {known.name} ({token_id})")
        return
    found = next((record for record in stored_access(settings).records() if record.token_id == token_id), None)
    if found is None:
        raise _unknown(token_id)
    delete_access(settings, found)
    typer.echo(f"revoked: {found.name} ({found.token_id})")


@app.command("login-link")
def login_link(
    role: Annotated[Role, typer.Option(help="Role of the session.")] = Role.ADMIN,
    user: Annotated[str | None, typer.Option(help="Limit the token to this user.", show_default=False)] = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="Where browsers reach the API. [env: EVERWATCH_API_PUBLIC_URL] Default: where it listens.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Print a link that logs a browser in to the console: once, within ten minutes, by any API process.

    The session lasts twelve hours and is listed among the tokens, where it can be revoked.

    Examples: `everwatch api-token login-link` ·
    `everwatch api-token login-link --role viewer --url https://everwatch.example`
    """
    if user is not None:
        _check("--user", user, UserId)
    settings = settings_of(data_dir, bootstrap_servers)
    address = url or settings.api_url or settings.api_public_url or url_of(settings.api_host, settings.api_port)
    if not address.startswith(("http://", "https://")):
        raise SettingsError(
            f"--url {address!r} is no address of a web server: write it like https://everwatch.example."
        )
    if settings.api_url:
        link = address.rstrip("/") + login_path_by_api(settings, role, user)
    else:
        settings, bootstrap = ready_broker(settings)
        link = new_login_link(settings, bootstrap, SystemClock(), address, role, user or "")
    typer.echo(orjson.dumps({"link": link}).decode() if as_json else link)


def _check(option: str, text: str, wanted: object) -> None:
    """Raise SettingsError for a name or id that no token can have."""
    try:
        msgspec.convert(text, wanted)
    except msgspec.ValidationError:
        raise SettingsError(f"{option} is empty, too long, or has characters that cannot be seen.") from None


def _unknown(token_id: str) -> EverwatchError:
    return EverwatchError(f"There is no token {token_id!r}: see 'everwatch api-token list'.")


def _plain(record: TokenRecord | TokenView) -> dict[str, object]:
    said: dict[str, object] = msgspec.to_builtins(record)
    return {name: value for name, value in said.items() if name not in ("sha256", "type")}


def _row(record: TokenRecord | TokenView) -> tuple[str, ...]:
    label = getattr(record, "label", "")
    marks = ("secrets", record.secrets), ("session", record.session), (f"label {label}", label)
    notes = [note for note, is_so in marks if is_so]
    role = ", ".join([str(record.role), *notes])
    expires = time_text(record.expires_at) if record.expires_at else "never"
    return (record.token_id, record.name, role, record.user_id or "all", time_text(record.created_at), expires)
