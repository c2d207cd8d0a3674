"""A product as its consumers read it: the rows of a snapshot, then the log from the very cut.

Written over ports; writes nothing, joins no group, and never sees the engine.
"""
