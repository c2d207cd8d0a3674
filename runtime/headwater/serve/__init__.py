"""HTTP for probes and scrapers. Reads published values, never the loop."""
