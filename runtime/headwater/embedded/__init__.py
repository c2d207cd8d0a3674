"""A real Kafka and a real schema registry on one machine, as child processes.

Never speaks for a cluster: loopback only, one broker, data under the given directory.
"""

from headwater.embedded.artefacts import SILENT, Progress
from headwater.embedded.stack import (
    Addresses,
    ServiceStatus,
    Status,
    addresses,
    down,
    is_known,
    status,
    up,
)

__all__ = [
    "SILENT",
    "Addresses",
    "Progress",
    "ServiceStatus",
    "Status",
    "addresses",
    "down",
    "is_known",
    "status",
    "up",
]
