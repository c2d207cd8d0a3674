"""HTTP for probes and scrapers. Reads published values, never the loop."""

from headwater.serve.server import Server, start

__all__ = ["Server", "start"]
