"""Users and monitors as rows, in pages: what ``everwatch export`` writes, and an import takes."""

import orjson

from everwatch.api.database import Database
from everwatch.api.export_views import PAUSED, REDACTED, ExportQuery
from everwatch.api.paging import next_link
from everwatch.api.permissions import Scope
from everwatch.api.problems import Problem
from everwatch.api.queries import narrowed
from everwatch.api.routing import Answer, Call
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.store import Reader
from everwatch.store.paging import InvalidCursor
from everwatch.store.selections import Selection
from everwatch.transfer.exported_rows import Exported, export_rows

NDJSON = "application/x-ndjson"


class Exporting:
    """Handler of ``/v1/export``."""

    def __init__(self, database: Database, secrets: ConfigSecrets) -> None:
        self._database = database
        self._secrets = secrets

    async def page(self, call: Call, query: ExportQuery) -> Answer:
        """Answer the rows of one page of users."""
        which = Selection(narrowed(call.principal, query.user))
        keys = self._secrets if call.principal.has(Scope.SECRETS) else None

        exported = Exported()

        def read(reader: Reader) -> tuple[bytes, str]:
            users = reader.list_users(which, query.cursor, limit=query.limit)
            catalogue = (entry for each in users for entry in reader.catalogue(each.user.user_id))
            rows = export_rows(catalogue, exported, keys, users_only=query.users_only, everything=query.everything)
            return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows), users.next

        try:
            data, cursor = await self._database.ask(read)
        except InvalidCursor as error:
            raise Problem(400, "invalid_cursor", str(error)) from None
        counts = {PAUSED: str(exported.paused), REDACTED: str(exported.redacted)}
        return Answer(data, headers={**next_link(call, cursor), **counts}, media_type=NDJSON)
