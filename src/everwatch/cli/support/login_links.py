"""One-time links that log a browser in to the console of an API."""

from everwatch.api.logins import new_login
from everwatch.api.permissions import Role
from everwatch.api.tokens import encoded, key_of
from everwatch.cli.support.input_publisher import InputPublisher
from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.kafka.clients import KafkaClients
from everwatch.kafka.topics import Topics


def new_login_link(
    settings: Settings, bootstrap_servers: str, clock: Clock, address: str, role: Role, user_id: str = ""
) -> str:
    """Make a link for the API at an address, which any API process of this Kafka accepts once.

    Raises BrokerUnavailable, AccessError.
    """
    made = new_login(role, clock.now_ms(), user_id=user_id)
    publisher = InputPublisher(KafkaClients(settings, bootstrap_servers), bootstrap_servers)
    publisher.send(Topics.of(settings).access, key_of(made.record).decode(), encoded(made.record))
    publisher.finish()
    return made.link(address)
