"""State in RocksDB: a directory per task. Door of rocksdict."""

from headwater.adapters.rocksdb.options import RocksDbMemory
from headwater.adapters.rocksdb.stores import RocksDbStores

__all__ = ["RocksDbMemory", "RocksDbStores"]
