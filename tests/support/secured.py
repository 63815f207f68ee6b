"""A broker as operators secure theirs: SASL_SSL with SCRAM-SHA-512, mTLS and ACLs: what is not granted is refused.

It listens on four ports of the loopback address: SASL_SSL for users, SSL with client certificates, and one in the clear
for the test itself, which may do everything.
"""

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization

from everwatch.kafka.embedded.address import Ports
from everwatch.kafka.embedded.folder import KafkaFolder, recognise_cluster
from everwatch.kafka.embedded.jars import default_jar_folder, provide_jars, read_lock
from everwatch.kafka.embedded.java import bundled_java, choose_java
from everwatch.kafka.embedded.properties import format_command, java_command, write_properties
from everwatch.kafka.process_rights import Right
from support.ports import free_ports
from support.waiting import wait_until

KEY_PASSWORD = "open sesame"
PASSWORD = "swordfish"

PROPERTIES = """
listeners=BROKER://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller},\
USERS://127.0.0.1:{users},CERTIFICATES://127.0.0.1:{certificates}
advertised.listeners=BROKER://127.0.0.1:{broker},USERS://127.0.0.1:{users},CERTIFICATES://127.0.0.1:{certificates}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,USERS:SASL_SSL,CERTIFICATES:SSL
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={truststore}
listener.name.users.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.users.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.certificates.ssl.client.auth=required
listener.name.certificates.ssl.principal.mapping.rules=RULE:^.*CN=([^,]+).*$/$1/
"""


class SecuredKafka:
    """One secured broker. A context manager that starts and stops it."""

    def __init__(self, folder: Path) -> None:
        self._folder = KafkaFolder(folder)
        self._folder.create()
        broker, controller, users, certificates = free_ports(4)
        self._ports = Ports(broker, controller)
        self.in_the_clear = f"127.0.0.1:{broker}"
        self.with_passwords = f"127.0.0.1:{users}"
        self.with_certificates = f"127.0.0.1:{certificates}"
        self._authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca_file)
        self.other_ca_file = folder / "other-ca.pem"
        trustme.CA().cert_pem.write_to_path(self.other_ca_file)
        keystore = folder / "broker.pem"
        issued = self._authority.issue_cert("127.0.0.1", "localhost")
        keystore.write_bytes(_key_of(issued, serialization.NoEncryption()) + _chain_of(issued))
        self._properties = PROPERTIES.format(
            broker=broker,
            controller=controller,
            users=users,
            certificates=certificates,
            keystore=keystore,
            truststore=self.ca_file,
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.admin = AdminClient({"bootstrap.servers": self.in_the_clear, "log_level": 0})

    def __enter__(self) -> Self:
        java = choose_java(None, None, bundled_java())
        jars = provide_jars(default_jar_folder(), read_lock())
        cluster_id = recognise_cluster(self._folder)
        write_properties(self._folder, self._ports, {})
        with self._folder.server_properties.open("a", encoding="ascii") as stream:
            stream.write(self._properties)
        subprocess.run(format_command(java, jars, self._folder, cluster_id), check=True, capture_output=True)
        with self._folder.console.open("wb") as console:
            self._process = subprocess.Popen(
                java_command(java, jars, self._folder, 256), stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )
        wait_until("the secured broker answers", self._answers, 60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(60)

    def add_user(self, name: str) -> None:
        """Let a user in with the password PASSWORD."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(name, info, PASSWORD.encode())
        self.admin.alter_user_scram_credentials([change])[name].result(60)

    def certificate_of(self, name: str) -> tuple[Path, Path]:
        """Files of a certificate for a user, and of its key, which is encrypted with KEY_PASSWORD."""
        issued = self._authority.issue_cert(f"{name}@example.com", common_name=name)
        certificate, key = self._folder.root / f"{name}.pem", self._folder.root / f"{name}.key"
        certificate.write_bytes(_chain_of(issued))
        key.write_bytes(_key_of(issued, serialization.BestAvailableEncryption(KEY_PASSWORD.encode())))
        return certificate, key

    def grant(self, user: str, rights: Iterable[Right]) -> None:
        """Allow a user these things."""
        for future in self.admin.create_acls([_binding(user, right) for right in rights]).values():
            future.result(60)

    def take_away(self, user: str, rights: Iterable[Right]) -> None:
        """Take rights away again."""
        filters = [
            AclBindingFilter(
                b.restype, b.name, b.resource_pattern_type, b.principal, "*", b.operation, b.permission_type
            )
            for b in (_binding(user, right) for right in rights)
        ]
        for future in self.admin.delete_acls(filters).values():
            assert future.result(60)

    def settings_of(self, user: str, **more: object) -> Mapping[str, object]:
        """Settings of a process of this user."""
        return {
            "bootstrap_servers": self.with_passwords,
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": user,
            "sasl_password": PASSWORD,
            "ssl_ca_file": self.ca_file,
            **more,
        }

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._folder.console.read_text()
        try:
            return bool(self.admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return False


def _chain_of(issued: trustme.LeafCert) -> bytes:
    return b"".join(blob.bytes() for blob in issued.cert_chain_pems)


def _key_of(issued: trustme.LeafCert, encryption: serialization.KeySerializationEncryption) -> bytes:
    """The key in PKCS 8, which is what Java reads."""
    private = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _binding(user: str, right: Right) -> AclBinding:
    return AclBinding(
        ResourceType[right.resource.name],
        right.name,
        ResourcePatternType.PREFIXED if right.is_prefix else ResourcePatternType.LITERAL,
        f"User:{user}",
        "*",
        AclOperation[right.operation.name],
        AclPermissionType.ALLOW,
    )
