"""``everwatch topics``: create and check the topics."""

import orjson
import typer
from rich.console import Console
from rich.table import Table

from everwatch.cli.support.options import AsJson, Bootstrap, DataDir, broker_of, settings_of
from everwatch.kafka.clients import new_admin
from everwatch.kafka.topic_administration import TopicState, check_topics, ensure_topics, problems_of

app = typer.Typer(no_args_is_help=True, help="Create and check the topics of Everwatch.")


@app.command()
def create(data_dir: DataDir = None, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """Create the topics that are missing; those that exist stay as they are. Safe to repeat.

    Example: `EVERWATCH_REPLICATION_FACTOR=3 everwatch topics create --bootstrap-servers kafka-1:9092`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    _show(ensure_topics(new_admin(settings, broker_of(settings)), settings), as_json)


@app.command()
def check(data_dir: DataDir = None, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """Compare the topics with the settings and change nothing; exit status 4 if one does not fit.

    Example: `everwatch topics check --json | jq '.[] | select(.problem != "")'`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    states = check_topics(new_admin(settings, broker_of(settings)), settings)
    _show(states, as_json)
    wrong = problems_of(states, settings)
    for sentence in wrong if not as_json else ():
        typer.secho(sentence, fg=typer.colors.RED, err=True)
    if wrong:
        raise typer.Exit(4)


def _show(states: list[TopicState], as_json: bool) -> None:
    if as_json:
        typer.echo(orjson.dumps([s.__dict__ for s in states]).decode())
        return
    table = Table("topic", "partitions", "")
    for state in states:
        table.add_row(state.name, str(state.partitions or "-"), _condition(state))
    Console().print(table)


def _condition(state: TopicState) -> str:
    """The state of one topic in a word or two; the sentence with the remedy stands below the table."""
    if not state.problem:
        return "created" if state.created else "ok"
    if state.hidden:
        return "not visible to this user"
    return "wrong number of partitions" if state.partitions else "missing"
