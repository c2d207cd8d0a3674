"""The composition root: settings and a product become a running process.

The only room that knows every adapter.
"""
