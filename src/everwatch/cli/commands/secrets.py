"""``everwatch secrets``: keys that encrypt secrets in configs, and their rotation."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from everwatch.cli.support.api_refusals import not_by_api
from everwatch.cli.support.database_reading import database
from everwatch.cli.support.input_way import SendingOptions
from everwatch.cli.support.options import AsJson, Bootstrap, DataDir, duration_of, settings_of
from everwatch.cli.support.sending import ANSWER_WITHIN, Timeout, connected
from everwatch.core.encryption import generate_key as new_key
from everwatch.core.errors import InvalidInput, SettingsError
from everwatch.kafka.command_client import Asked, asked_of
from everwatch.kinds.execution.config_secrets import ConfigSecrets, config_secrets
from everwatch.model import CommandOutcome, Monitor, Reply

if TYPE_CHECKING:
    from everwatch.store import SqlReader

app = typer.Typer(no_args_is_help=True, help="Make keys that encrypt secrets in configs, and encrypt stored ones anew.")


@app.command()
def generate_key() -> None:
    """Print a new key for EVERWATCH_SECRETS_KEY.

    Example: `(umask 077; everwatch secrets generate-key > secrets.key)`
    """
    typer.echo(new_key())


@app.command()
def rotate(
    user: Annotated[str, typer.Option("--user", help="Only this user.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; print what would be encrypted.")] = False,
    timeout: Timeout = ANSWER_WITHIN,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Have workers encrypt anew each secret that is plaintext or encrypted with an older key than the first.

    First put a new key in front of the old one, for workers, executors and this command; then run this. The old key is
    needed until older ticks are run (1 day). The encrypted configs are read from the database; monitors keep
    version and state. Exit status 1 if a secret could not be encrypted.

    With --api no key is needed here, and nothing is read with one: each user's workers look at all of its secrets, so
    there is no --dry-run, and a config that no key reads stays as it is without a word.

    Examples: `everwatch secrets rotate --dry-run` · `EVERWATCH_SECRETS_KEY=$NEW,$OLD everwatch secrets rotate`
    """
    delivery = SendingOptions(
        settings_of(data_dir, bootstrap_servers), True, duration_of("--timeout", timeout) / 1000, as_json
    )
    settings = delivery.settings
    if settings.api_url:
        _rotate_by_api(user, dry_run, delivery)
        return
    if not settings.secrets_keys:
        raise SettingsError("Set EVERWATCH_SECRETS_KEY, the new key first, as workers and executors have it.")
    with database(settings) as reader:
        users, stale, unreadable = _stale(reader, config_secrets(settings), user)
    said: dict[str, Any] = {"users": len(users), "monitors": stale, "unreadable": len(unreadable)}
    replies = [] if dry_run or not users else _reencrypted(users, delivery)
    answers = [reply.answer for reply in replies]
    refused = [reply for reply in replies if reply.answer is CommandOutcome.REFUSED]
    said |= {"refused": len(refused)}
    said |= {"encrypted": answers.count(CommandOutcome.DONE), "unchanged": answers.count(CommandOutcome.UNCHANGED)}
    if as_json:
        typer.echo(orjson.dumps(said).decode())
    else:
        would = "would be encrypted anew" if dry_run else "are to be encrypted anew"
        typer.echo(f"{stale} monitors of {len(users)} users {would}")
        if answers:
            typer.echo(f"done for {said['encrypted']} users")
        for monitor in unreadable[:10]:
            typer.echo(
                f"cannot be read with these keys: {monitor.user_id}/{monitor.monitor_id}; put it again", err=True
            )
        if len(unreadable) > 10:
            typer.echo(f"… and {len(unreadable) - 10} more", err=True)
        for reply in refused[:10]:
            typer.echo(f"refused: {reply.user_id}: {reply.reason}", err=True)
        if others := answers.count(CommandOutcome.UNCHANGED):
            typer.echo(
                f"{others} users were not changed: do workers have the same keys? The database may also be behind them:"
                " run it again",
                err=True,
            )
    if unreadable or len(answers) > said["encrypted"]:
        raise typer.Exit(1)


def _rotate_by_api(user: str, dry_run: bool, delivery: SendingOptions) -> None:
    """Have the workers of all users, or of one, look at their secrets. Raises ApiError, Unanswered."""
    if dry_run:
        raise not_by_api("'everwatch secrets rotate --dry-run'", "only who has the keys can tell")
    from everwatch.cli.support.api_connection import api_client  # aiohttp takes a while to import

    users = [user]
    if not user:
        with api_client(delivery.settings) as client:
            users = [each.user_id for each in client.users()]
    answers = Counter(reply.answer for reply in (_reencrypted(users, delivery) if users else []))
    said = {"users": len(users)} | {answer.value: answers[answer] for answer in CommandOutcome if answers[answer]}
    if delivery.as_json:
        typer.echo(orjson.dumps(said).decode())
    else:
        done, unchanged = answers[CommandOutcome.DONE], answers[CommandOutcome.UNCHANGED]
        typer.echo(f"{len(users)} users: encrypted anew for {done}, nothing to do for {unchanged}")
    if answers[CommandOutcome.REFUSED]:
        typer.echo(f"refused for {answers[CommandOutcome.REFUSED]} users", err=True)
        raise typer.Exit(1)


def _stale(reader: "SqlReader", secrets: ConfigSecrets, user: str) -> tuple[list[str], int, list[Monitor]]:
    """Users with something to be encrypted anew, how many monitors that is, and those that no key reads."""
    users: dict[str, None] = {}
    count, unreadable = 0, []
    for _, monitors in reader.catalogue(user):
        for monitor in monitors:
            if secrets.is_current(monitor.spec):
                continue
            try:
                secrets.decrypted_spec(monitor.spec)
            except InvalidInput:
                unreadable.append(monitor)
                continue
            count += 1
            users[monitor.user_id] = None
    return list(users), count, unreadable


def _reencrypted(users: list[str], delivery: SendingOptions) -> list[Reply]:
    """The workers' answers, one for each user. Raises BrokerUnavailable, Unanswered."""

    def asked_for(user: str) -> Asked:
        return asked_of({"command": "reencrypt_user", "user_id": user})

    with connected(delivery, asked_for(users[0])) as link:
        return [reply for _, reply in link.ask(map(asked_for, users))]
