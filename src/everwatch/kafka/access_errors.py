"""The one judge of why Kafka does not let a client in: lines of librdkafka's log, brokers' codes, the clients' errors.

None stands for an error that is no refusal: the caller waits, or reports it.
"""

import re
from collections.abc import Iterable

from confluent_kafka import KafkaError, Message

from everwatch.core.config import SecurityProtocol, Settings
from everwatch.core.errors import AccessError, AuthenticationRefused, PermissionMissing, TransportRefused
from everwatch.kafka.acl import Operation, Resource, Right

WHERE_ACLS_ARE = "docs/secured-kafka.md, ACLs, has the list"
_MECHANISMS = re.compile(r"supported mechanisms: *([A-Z0-9,-]*)")
_RESOURCES = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: Resource.TOPIC,
    KafkaError.GROUP_AUTHORIZATION_FAILED: Resource.GROUP,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Resource.TRANSACTIONAL_ID,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: Resource.CLUSTER,
}
_NOT_AUTHENTICATED = (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED)
_NOT_TRUSTED = "certificate verify failed"


def refused_connection(lines: Iterable[str], settings: Settings, bootstrap_servers: str) -> AccessError | None:
    """Return the error for a client that got no connection, by its log; None if it was not refused.

    ``lines``: texts of librdkafka's errors, and lines of its log: of some refusals it tells only there.
    """
    found = (_of_line(line, settings, f"Kafka at {bootstrap_servers}") for line in lines)
    return next((error for error in found if error is not None), None)


def _of_line(line: str, settings: Settings, kafka: str) -> AccessError | None:
    protocol = settings.security_protocol
    is_tls = protocol in (SecurityProtocol.SSL, SecurityProtocol.SASL_SSL)
    is_sasl = protocol.value.startswith("SASL")
    if "nsupported SASL mechanism" in line:
        told = _MECHANISMS.search(line)
        takes = f"it takes {told[1]}" if told and told[1] else "it does not say which it takes"
        return AuthenticationRefused(
            f"{kafka} does not authenticate by {settings.sasl_mechanism.value}, {takes}: set EVERWATCH_SASL_MECHANISM."
        )
    if "not valid in current SASL state" in line:
        return TransportRefused(
            f"{kafka} does not authenticate clients on this port, and EVERWATCH_SECURITY_PROTOCOL is {protocol.value}:"
            " set it to what the port speaks, or use another port."
        )
    if "SASL authentication error" in line or "uthentication failed" in line:
        return AuthenticationRefused(
            f"{kafka} refuses the user {settings.sasl_username!r} with this password"
            f" ({settings.sasl_mechanism.value}): check EVERWATCH_SASL_USERNAME and EVERWATCH_SASL_PASSWORD."
        )
    if _NOT_TRUSTED in line:
        ca = f"the CA in {settings.ssl_ca_file}" if settings.ssl_ca_file else "any CA that this machine trusts"
        return TransportRefused(
            f"The certificate of {kafka} is not trusted: it was not signed by {ca}, or it is for another host name."
            " Set EVERWATCH_SSL_CA_FILE to the CA of the brokers, and use the names that their certificates have."
        )
    if "connecting to a PLAINTEXT broker listener" in line or "wrong version number" in line:
        return TransportRefused(
            f"{kafka} does not speak TLS on this port, and EVERWATCH_SECURITY_PROTOCOL is {protocol.value}: set it to"
            f" {'SASL_PLAINTEXT' if is_sasl else 'PLAINTEXT'}, or use the port for TLS."
        )
    if is_tls and " alert " in line:
        given = (
            f"the certificate in {settings.ssl_certificate_file}" if settings.ssl_certificate_file else "without one"
        )
        return AuthenticationRefused(
            f"{kafka} wants a client certificate that it trusts, and refuses {given}: set"
            " EVERWATCH_SSL_CERTIFICATE_FILE and EVERWATCH_SSL_KEY_FILE to one that the brokers'"
            " CA for clients has signed."
        )
    if "Disconnected" in line and "APIVERSION_QUERY" in line and not is_tls:
        return TransportRefused(
            f"{kafka} hangs up on what is not TLS, and EVERWATCH_SECURITY_PROTOCOL is {protocol.value}: if this is a"
            f" port for TLS, set it to {'SASL_SSL' if is_sasl else 'SSL or SASL_SSL'}."
        )
    if "Disconnected" in line and "in state UP" in line and not is_sasl:
        return AuthenticationRefused(
            f"{kafka} hangs up on a client without a user, and EVERWATCH_SECURITY_PROTOCOL is {protocol.value}: if"
            f" users log in on this port, set it to {'SASL_SSL' if is_tls else 'SASL_PLAINTEXT'}, with"
            " EVERWATCH_SASL_USERNAME and EVERWATCH_SASL_PASSWORD."
        )
    return None


def missing(right: Right, settings: Settings | None = None) -> PermissionMissing:
    """The error for a right that a client needs and has not."""
    user = (
        f"the user {settings.sasl_username!r}" if settings and settings.sasl_username else "this process's Kafka user"
    )
    hidden = ""
    if right.operation is Operation.DESCRIBE and right.resource is Resource.TOPIC:
        hidden = " (without it Kafka does not even report whether the topic exists)"
    return PermissionMissing(
        f"Kafka does not allow {user} the operation {right}{hidden}: add an ACL for it ({WHERE_ACLS_ARE})."
    )


def refused(error: KafkaError, *needed: Right) -> AccessError | None:
    """Return the error for a broker's code to a connected client; None if it is no refusal of access.

    ``needed``: the rights that the request took, as far as the caller knows.
    """
    code = error.code()
    if code in _RESOURCES:
        resource = _RESOURCES[code]
        for right in needed:
            if right.resource is resource:
                return missing(right)
        return PermissionMissing(
            f"Kafka does not allow this process's user to use a {resource} ({error.str()}): add an ACL for it"
            f" ({WHERE_ACLS_ARE})."
        )
    if code in _NOT_AUTHENTICATED:
        return AuthenticationRefused(
            f"Kafka refuses this process's user or password ({error.str()}): check EVERWATCH_SASL_USERNAME and"
            " EVERWATCH_SASL_PASSWORD."
        )
    return None


def raise_refused(errors: Iterable[Message], topic: str) -> None:
    """Raise AccessError if a consumer of ``topic`` got one of these messages because it may not read.

    The consumer was assigned its partitions and commits nothing: it needs no consumer group.
    """
    for message in errors:
        error = message.error()
        if error is None or error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            continue
        if denied := refused(error, read_of(topic)):
            raise denied


def read_of(topic: str) -> Right:
    """The right to read a topic."""
    return Right(Operation.READ, Resource.TOPIC, topic)


def write_to(topic: str) -> Right:
    """The right to write to a topic."""
    return Right(Operation.WRITE, Resource.TOPIC, topic)


def read_by(group: str) -> Right:
    """The right to be in a consumer group, and to commit its offsets."""
    return Right(Operation.READ, Resource.GROUP, group)
