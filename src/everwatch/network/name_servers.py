"""Questions to name servers (RFC 1035): one resolver of c-ares, with and without EDNS, and what of an answer counts."""

from collections.abc import Iterable, Sequence

import aiodns
import aiodns.error
import pycares

# so that a name server that does not answer holds its place for about 6 s (the second wait is twice as long)
TRY_S = 2.0
TRIES = 2
# what servers say to EDNS that they do not know (RFC 6891, 7): FORMERR, NOTIMP, or either without the question, which
# c-ares takes for a wrong answer
_NO_EDNS = (aiodns.error.ARES_EFORMERR, aiodns.error.ARES_ENOTIMP, aiodns.error.ARES_EBADRESP)
_LONGEST_CHAIN = 16


class NameServers:
    """The name servers at ``servers`` ("IP:port"; without them those of the system), and the answers they gave.

    Answers are kept for their TTL, at most an hour: c-ares takes no shorter limit. Over UDP, and over TCP where an
    answer does not fit. ``try_s``: for how long the first try waits.
    """

    def __init__(self, servers: Sequence[str] = (), try_s: float = TRY_S) -> None:
        self._servers = servers
        self._try_s = try_s
        self._resolver = aiodns.DNSResolver(servers, timeout=try_s, tries=TRIES)
        self._without_edns: aiodns.DNSResolver | None = None

    async def ask(self, name: str, record_type: str) -> list[pycares.DNSRecord]:
        """Return the answer section for ``name``. Raises aiodns.error.DNSError, also where there is no record."""
        if self._without_edns is None:
            try:
                return (await self._resolver.query_dns(name, record_type)).answer
            except aiodns.error.DNSError as error:
                if error.args[0] not in _NO_EDNS:
                    raise
                if self._without_edns is None:
                    self._without_edns = aiodns.DNSResolver(self._servers, timeout=self._try_s, tries=TRIES, flags=0)
        return (await self._without_edns.query_dns(name, record_type)).answer

    async def close(self) -> None:
        """Fail questions under way."""
        await self._resolver.close()
        if self._without_edns is not None:
            await self._without_edns.close()


def aliases_of(records: Iterable[pycares.DNSRecord], name: str) -> list[str]:
    """The names that ``name`` stands for by the CNAME records of an answer: itself, its alias, and so on.

    Names are in lower case without a final dot. A chain that bites its tail ends there.
    """
    targets = {
        plain_name(one.name): plain_name(one.data.cname)
        for one in records
        if isinstance(one.data, pycares.CNAMERecordData)
    }
    chain = [plain_name(name)]
    while (following := targets.get(chain[-1])) is not None and following not in chain and len(chain) < _LONGEST_CHAIN:
        chain.append(following)
    return chain


def owned(records: Iterable[pycares.DNSRecord], name: str, record_type: str) -> list[pycares.DNSRecord]:
    """The records of ``record_type`` that are ``name``'s own, by the chain of aliases that begins with it.

    An answer may hold records of other names, by mistake or on purpose (RFC 5452, 6): they answer nothing.
    """
    records = list(records)
    wanted = aiodns.query_type_map[record_type]
    chain = aliases_of(records, name)
    # an alias has no other records, and the CNAME of a name is its own
    owner = chain[0] if record_type == "CNAME" else chain[-1]
    return [record for record in records if record.type == wanted and plain_name(record.name) == owner]


def plain_name(name: str | bytes) -> str:
    """A domain name in lower case and without its final dot; other characters than ASCII are escaped."""
    # pycares leaves as bytes what is not ASCII
    text = name if isinstance(name, str) else name.decode(errors="backslashreplace")
    return text.lower().rstrip(".")
