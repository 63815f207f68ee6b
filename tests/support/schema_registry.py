"""A stand-in for a schema registry: what Confluent's API says of subjects, ids and compatibility, over HTTP."""

import base64
import ssl
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import fastavro
import orjson

from everwatch.core.clock import SettableClock
from everwatch.encoding import avro_schemas
from everwatch.encoding.registered_schemas import RegisteredSchema, RegisteredSchemas

TYPE = "application/vnd.schemaregistry.v1+json"


class StandInRegistry:
    """A registry in memory.

    ``user_info`` ("user:password"): asked for as basic auth; ``tls``: its certificate; ``away``: it answers 503.
    """

    def __init__(self, user_info: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.away = False
        self.requests: Counter[str] = Counter()
        self.compatibility: dict[str, str] = {}
        self._user_info = user_info
        self._schemas: list[dict[str, Any]] = []
        self._subjects: dict[str, list[int]] = {}
        self._lock = threading.Lock()
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer("GET")

            def do_POST(self) -> None:
                self._answer("POST")

            def do_PUT(self) -> None:
                self._answer("PUT")

            def _answer(self, method: str) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
                status, said = registry.answer(method, path, body, self.headers.get("Authorization", ""))
                data = orjson.dumps(said)
                self.send_response(status)
                self.send_header("Content-Type", TYPE)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._scheme = "http"
        if tls is not None:
            self._scheme = "https"
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, name="schema-registry", daemon=True)

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: list[str], body: bytes, authorization: str) -> tuple[int, dict[str, Any]]:
        """Status and body of the answer to a request."""
        with self._lock:
            self.requests[f"{method} /{'/'.join(path)}"] += 1
            if self.away:
                return 503, {"error_code": 50301, "message": "away"}
            wanted = "Basic " + base64.b64encode(self._user_info.encode()).decode()
            if self._user_info and authorization != wanted:
                return 401, {"error_code": 401, "message": "Unauthorized"}
            match method, path:
                case "GET", ["schemas", "ids", number]:
                    return self._schema(int(number))
                case "POST", ["subjects", subject, "versions"]:
                    return self._register(subject, orjson.loads(body))
                case "PUT", ["config", subject]:
                    self.compatibility[subject] = orjson.loads(body)["compatibility"]
                    return 200, orjson.loads(body)
            return 404, {"error_code": 404, "message": "no such resource"}

    def _schema(self, number: int) -> tuple[int, dict[str, Any]]:
        if not 0 < number <= len(self._schemas):
            return 404, {"error_code": 40403, "message": "Schema not found"}
        return 200, self._schemas[number - 1]

    def _register(self, subject: str, wanted: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        schema = {"schema": wanted["schema"]}
        if wanted.get("schemaType", "AVRO") != "AVRO":
            # Avro is what no type means
            schema["schemaType"] = wanted["schemaType"]
        if schema not in self._schemas:
            versions = self._subjects.get(subject, [])
            if versions and self.compatibility.get(subject, "BACKWARD") == "BACKWARD":
                before = self._schemas[versions[-1] - 1]["schema"]
                if not _reads(schema["schema"], before):
                    return 409, {"error_code": 409, "message": "Schema being registered is incompatible"}
            self._schemas.append(schema)
        number = self._schemas.index(schema) + 1
        versions = self._subjects.setdefault(subject, [])
        if number not in versions:
            versions.append(number)
        return 200, {"id": number}


def own_schemas() -> RegisteredSchemas:
    """Our own schemas with made-up ids, for tests of what is written and read and not of a registry."""
    numbers = {name: number for number, name in enumerate(avro_schemas.NAMES, 1)}
    names = {number: name for name, number in numbers.items()}

    def fetch(number: int) -> RegisteredSchema | None:
        if number not in names:
            return None
        return RegisteredSchema("AVRO", (avro_schemas.schema_folder() / f"{names[number]}.avsc").read_text())

    schemas = RegisteredSchemas(fetch, SettableClock())
    schemas.write(numbers)
    return schemas


def _reads(newer: str, older: str) -> bool:
    """Tell whether a reader with the newer schema can read what was written with the older one: by name, roughly."""
    new, old = (fastavro.parse_schema(orjson.loads(text)) for text in (newer, older))
    old_fields = {field["name"]: field["type"] for field in old["fields"]}
    return all("default" in field or field["name"] in old_fields for field in new["fields"])
