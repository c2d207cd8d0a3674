"""The registry of the session with GUIDs added, as Confluent's own gives them since 8.0."""

import json
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import NAMESPACE_OID, uuid5

TYPE = "application/vnd.schemaregistry.v1+json"


def guid_of(schema: str) -> str:
    """The GUID this registry gives to a schema, equal for equal ones."""
    return str(uuid5(NAMESPACE_OID, json.dumps(json.loads(schema), sort_keys=True)))


class GuidRegistry:
    """Passes everything on to `behind`, adds GUIDs to its answers, and answers for them."""

    def __init__(self, behind: str) -> None:
        self._behind = urlsplit(behind)
        self._schemas: dict[str, str] = {}
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                status, reply = registry.reply(self.command, self.path, self.rfile.read(size))
                body = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = answer  # noqa: N815 - the parent's names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.01,)).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reply(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """What is answered to a request."""
        if path.startswith("/schemas/guids/"):
            return self._of_guid(path.partition("?")[0].rpartition("/")[2])
        connection = HTTPConnection(self._behind.netloc, timeout=5)
        with closing(connection):
            target = self._behind.path + path
            connection.request(method, target, body or None, {"Content-Type": TYPE})
            answer = connection.getresponse()
            read = answer.read()
            return answer.status, self._with_guid(json.loads(read) if read else {}, body)

    def _of_guid(self, guid: str) -> tuple[int, Any]:
        if guid not in self._schemas:
            return 404, {"error_code": 40403, "message": f"Schema {guid} not found."}
        return 200, {"schema": self._schemas[guid], "guid": guid}

    def _with_guid(self, reply: Any, body: bytes) -> Any:
        if not isinstance(reply, dict) or "id" not in reply:
            return reply
        schema = reply.get("schema") or json.loads(body)["schema"]
        guid = guid_of(schema)
        self._schemas[guid] = schema
        return {**reply, "guid": guid}
