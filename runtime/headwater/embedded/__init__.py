"""A real broker and a real registry for one machine, from pip packages alone."""
