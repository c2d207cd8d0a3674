"""Log to columns: cuts, ranges, hashes, verification.

A function of the log, never of the engine.
"""
