"""Checks of a secured Kafka: the files of TLS, and what this user may do."""

from collections.abc import Iterator

from everwatch.core.config import SecurityProtocol
from everwatch.diagnosis.finding import Finding, fault, well
from everwatch.diagnosis.system import System
from everwatch.kafka.permission_check import lacking
from everwatch.kafka.process_rights import rights_of
from everwatch.kafka.tls_files import tls_context


def check_certificates(system: System) -> Iterator[Finding]:
    """Read the files of CA, certificate and key. Raises SettingsError for one that is missing or wrong."""
    if tls_context(system.settings) is None:
        yield well("certificates", "none are used: the settings are for Kafka without TLS")
        return
    ca, own = system.settings.ssl_ca_file, system.settings.ssl_certificate_file
    trusted = f"the CA in {ca} is trusted" if ca else "this machine's CAs are trusted"
    yield well("certificates", trusted + (f", and {own} is the client's certificate" if own else ""))


def check_rights(system: System) -> Iterator[Finding]:
    """Compare what each process needs with what the broker says that this user may do."""
    if system.settings.security_protocol is SecurityProtocol.PLAINTEXT:
        yield well("rights", "not asked for: the settings are for Kafka without users")
        return
    faultless = True
    for process in system.processes:
        for right in lacking(system.admin, rights_of(process, system.settings)):
            faultless = False
            yield fault(
                "rights",
                f"this user may not {right}, which the {process.value} needs",
                "Add an ACL for it (docs/secured-kafka.md, ACLs), or name with --for what runs as this user",
            )
    if faultless:
        yield well("rights", f"all there for {', '.join(process.value for process in system.processes)}")
