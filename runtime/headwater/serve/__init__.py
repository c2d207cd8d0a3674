"""HTTP for probes and scrapers. Reads published values, never the loop."""

from headwater.serve.server import Server, start
from headwater.serve.workers import start_gathering

__all__ = ["Server", "start", "start_gathering"]
