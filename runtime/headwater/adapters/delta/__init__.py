"""Delta tables through deltalake: the only room that imports it."""
