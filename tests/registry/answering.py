"""A registry that answers whatever a test says."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from uuid import UUID

SUBJECT = "billing.invoices-value"
GUID = UUID(int=7)
NO_PAGE = (404, b"<html>no such page</html>")

Answers = dict[str, tuple[int, bytes]]


def held(answer: Mapping[str, Any], **more: Any) -> Answers:
    """What a registry that holds one schema answers, by the path."""
    body = json.dumps({**answer, **more}).encode()
    return {
        "/subjects": (200, json.dumps([SUBJECT]).encode()),
        f"/subjects/{SUBJECT}": (200, body),
        f"/subjects/{SUBJECT}/versions": (200, b"[1]"),
        f"/subjects/{SUBJECT}/versions/1": (200, body),
        f"/subjects/{SUBJECT}/versions/latest": (200, body),
        "/schemas/ids/7": (200, body),
        f"/schemas/guids/{GUID}": (200, body),
        "/config": (200, b'{"compatibilityLevel":"NONE"}'),
        f"/config/{SUBJECT}": (200, b'{"compatibilityLevel":"NONE"}'),
    }


@contextmanager
def answering(answers: Answers) -> Iterator[str]:
    """The address of a registry of these answers by path; they may change meanwhile."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = answers.get(self.path.partition("?")[0], NO_PAGE)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - the parent's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
