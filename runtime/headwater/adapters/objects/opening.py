"""Opens a bucket of Amazon S3, or of a store that speaks its protocol (MinIO, Ceph).

Region, endpoint and credentials are read from the usual variables of the environment (AWS_REGION,
AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID ...), else from what the machine offers (web identity, container
or instance metadata), by obstore. Profiles in `~/.aws` are not read.
"""

import os
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import S3Store

from headwater.adapters.objects.refusals import refusal

CONNECT_S: Final = 5.0
REQUEST_S: Final = 15.0  # a part at 0.5 MB/s; the end of a process waits for no more than this
RETRY_S: Final = 10.0  # from the first request to the last attempt: a store that asks to slow down
RETRIES: Final = 5  # after 0.1 s, each twice as long as the one before
PART_BYTES: Final = 8 << 20  # of a request: S3 takes 5 MiB or more, and 10,000 parts
PARTS_AT_ONCE: Final = 2  # one is read while one is on its way: so much is in memory
ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def open_store(location: str) -> S3Store:
    """The objects below `s3://bucket/prefix`; nothing is asked of the store yet.

    Raises ValueError with the reason when the location or the environment cannot be right.
    """
    for name in ENDPOINTS:
        # obstore would panic later
        if (value := os.environ.get(name)) is not None and not _is_address(value):
            message = f"{name} is no address such as http://127.0.0.1:9000"
            raise ValueError(message)
    place = urlsplit(location)
    try:
        return S3Store(
            place.netloc,
            prefix=place.path.strip("/") or None,
            client_options={
                "allow_http": True,  # who writes http:// into an endpoint means it
                "connect_timeout": timedelta(seconds=CONNECT_S),
                "timeout": timedelta(seconds=REQUEST_S),
            },
            retry_config={
                "max_retries": RETRIES,
                "retry_timeout": timedelta(seconds=RETRY_S),
            },
        )
    except BaseError as error:
        raise ValueError(refusal(error).reason) from error


def options() -> dict[str, str]:
    """The same for another library over object_store, which reads the environment too."""
    return {
        "allow_http": "true",
        "connect_timeout": _duration(CONNECT_S),
        "timeout": _duration(REQUEST_S),
        "max_retries": str(RETRIES),
        "retry_timeout": _duration(RETRY_S),
    }


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1_000)}ms"


def _is_address(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
