"""A server of S3's protocol (moto) as a child process: it can be stopped and killed like any."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Final, Self
from urllib.request import Request, urlopen

PROGRAM: Final = """
import signal
from functools import wraps
from threading import Lock
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer

# S3 keeps a condition and its put together; moto looks first and puts then, in many threads.
one_at_a_time = Lock()

def alone(answer):
    @wraps(answer)
    def locked(*given, **named):
        with one_at_a_time:
            return answer(*given, **named)
    return locked

for name in ("put_object", "delete_object", "_key_response_post"):
    setattr(S3Response, name, alone(getattr(S3Response, name)))
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
signal.pause()
"""


class ObjectServer:
    """Listens on a free port while the block lasts; `environment` leads a client to it."""

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address, "the object store's server ended at once"
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.communicate()

    @property
    def environment(self) -> Mapping[str, str]:
        """The usual variables."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "canary-4711",
            "AWS_REGION": "us-east-1",
        }

    def create(self, bucket: str) -> None:
        """Make a bucket."""
        self.ask("PUT", f"/{bucket}")

    def ask(self, method: str, path: str) -> str:
        """The answer to a request without a signature: nobody asks for one."""
        with urlopen(Request(self.address + path, method=method), timeout=10) as reply:  # noqa: S310  # http
            return str(reply.read().decode())
