"""``everwatch operator``: people who log in to the console with a password, on the topic ``access``."""

import sys
from collections.abc import Sequence
from typing import Annotated

import msgspec
import orjson
import typer

from everwatch.api.access_views import OperatorBody, OperatorView
from everwatch.api.operators import OperatorName, OperatorRecord, new_operator
from everwatch.api.passwords import hash_of, objection_to
from everwatch.api.permissions import Role
from everwatch.cli.support.access_by_api import operators_by_api, put_operator_by_api, remove_operator_by_api
from everwatch.cli.support.access_records import delete_access, put_access, stored_access
from everwatch.cli.support.database_reading import print_columns
from everwatch.cli.support.options import AsJson, Bootstrap, DataDir, settings_of
from everwatch.cli.support.run_parts import now_ms
from everwatch.cli.support.time_display import time_text
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError, SettingsError

app = typer.Typer(
    no_args_is_help=True, help="Add, change, list and remove operators who log in to the console with a password."
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="As it is typed to log in.", show_default=False)]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input, its first line.")
]


@app.command()
def add(
    name: Name,
    role: Annotated[Role, typer.Option(help="What may be done in the console.")] = Role.VIEWER,
    password_stdin: FromStdin = False,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
) -> None:
    """Add an operator with a password, which is asked for; only its hash (Argon2id) is stored.

    API processes accept it at once. A password has at least 12 characters.

    Examples: `everwatch operator add ann --role admin` ·
    `pass show everwatch/ann | everwatch operator add ann --role operator --password-stdin`
    """
    wanted = _name(name)
    settings = settings_of(data_dir, bootstrap_servers)
    if _found(settings, wanted) is not None:
        raise EverwatchError(f"There is an operator {wanted!r} already: see 'everwatch operator change --help'.")
    password = _password(password_stdin)
    if settings.api_url:
        put_operator_by_api(settings, wanted, OperatorBody(role, password))
    else:
        put_access(settings, new_operator(wanted, role, hash_of(password), now_ms()))
    typer.echo(f"added: {wanted} ({role})")


@app.command()
def change(
    name: Name,
    role: Annotated[Role | None, typer.Option(help="Another role.", show_default=False)] = None,
    password: Annotated[bool, typer.Option("--password", help="Ask for another password.")] = False,
    password_stdin: FromStdin = False,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
) -> None:
    """Change an operator's role or password; either ends the sessions that the operator has.

    Examples: `everwatch operator change ann --password` · `everwatch operator change ann --role viewer`
    """
    wanted = _name(name)
    is_new_password = password or password_stdin
    if role is None and not is_new_password:
        raise SettingsError("Say what to change: --role ROLE, --password or --password-stdin.")
    settings = settings_of(data_dir, bootstrap_servers)
    found = _found(settings, wanted)
    if found is None:
        raise _unknown(wanted)
    new_password = _password(password_stdin) if is_new_password else None
    if isinstance(found, OperatorRecord):
        hashed = found.password if new_password is None else hash_of(new_password)
        put_access(settings, new_operator(wanted, role or found.role, hashed, now_ms(), found.created_at))
    else:
        put_operator_by_api(settings, wanted, OperatorBody(role, new_password))
    typer.echo(f"changed: {wanted} ({role or found.role}); log in again")


@app.command("list")
def list_(data_dir: DataDir = None, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """List operators; with --json one object a line.

    Example: `everwatch operator list --json | jq -r .name`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    records: Sequence[OperatorRecord | OperatorView]
    records = operators_by_api(settings) if settings.api_url else list(stored_access(settings).operators.records())
    if as_json:
        for record in records:
            typer.echo(orjson.dumps(_plain(record)).decode())
        return
    if not records:
        typer.echo("there are no operators with a password")
        return
    rows = [(each.name, str(each.role), time_text(each.created_at), time_text(each.changed_at)) for each in records]
    print_columns(("name", "role", "created", "changed"), rows)


@app.command()
def remove(name: Name, data_dir: DataDir = None, bootstrap_servers: Bootstrap = None) -> None:
    """Remove an operator, and end the operator's sessions.

    Tokens that the operator has made stay: see `everwatch api-token list`.

    Example: `everwatch operator remove ann`
    """
    wanted = _name(name)
    settings = settings_of(data_dir, bootstrap_servers)
    found = _found(settings, wanted)
    if found is None:
        raise _unknown(wanted)
    if isinstance(found, OperatorRecord):
        delete_access(settings, found)
    elif not remove_operator_by_api(settings, wanted):
        raise _unknown(wanted)
    typer.echo(f"removed: {wanted}")


def _found(settings: Settings, name: str) -> OperatorRecord | OperatorView | None:
    """The operator of a name, by the API if the settings name one."""
    if settings.api_url:
        return next((each for each in operators_by_api(settings) if each.name == name), None)
    return stored_access(settings).operators.find(name)


def _name(text: str) -> str:
    """The name as it is stored. Raises SettingsError for one that no operator can have."""
    try:
        found: str = msgspec.convert(text.lower(), OperatorName)
    except msgspec.ValidationError:
        raise SettingsError(
            f"NAME {text!r} is no name of an operator: use up to 64 letters, digits and . _ @ + -, a letter or digit"
            " first."
        ) from None
    return found


def _password(from_stdin: bool) -> str:
    """The password that is typed twice, or comes on standard input. Raises SettingsError."""
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        raise SettingsError("There is no terminal to ask for a password: pipe it in and give --password-stdin.")
    if objection := objection_to(password):
        raise SettingsError(f"This password is not taken: {objection}.")
    return password


def _unknown(name: str) -> EverwatchError:
    return EverwatchError(f"There is no operator {name!r}: see 'everwatch operator list'.")


def _plain(record: OperatorRecord | OperatorView) -> dict[str, object]:
    said: dict[str, object] = msgspec.to_builtins(record)
    return {name: value for name, value in said.items() if name not in ("password", "credential_id", "type")}
