"""Iceberg tables through pyiceberg: the only room that imports it. Needs the extra `iceberg`."""
