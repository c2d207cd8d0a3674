"""How RocksDB is opened: bounded memory, every block checked, the write-ahead log on."""

from typing import Final

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    WriteBufferManager,
)

MARKS: Final = "marks"
"""The column family of the mark: beside the entries, so that no key can be mistaken for it."""

_BLOOM_BITS: Final = 10  # per key: one absent key in a hundred costs a read (RocksDB's advice)
_WRITE_BUFFER_BYTES: Final = 8 << 20  # a flush of the cache above takes one or two
_WRITE_BUFFERS: Final = 2  # one is filled while the other goes to disk
_BUFFER_BLOOM: Final = 0.05  # of a write buffer: halves the cost of a key that is not in it
_ARENA_BYTES: Final = 64 << 10  # what a buffer grows by: a process has hundreds of small ones
_MARK_BUFFER_BYTES: Final = 64 << 10  # the least RocksDB takes
_OPEN_FILES: Final = 128  # per task: hundreds of tasks must not meet the limit of a process
_MANIFEST_BYTES: Final = 64 << 10  # reserved on disk per task; RocksDB's 4 MiB are for servers


class RocksDbMemory:
    """The memory that all stores of a process share, in bytes.

    A third of it at most are write buffers, which are charged to the block cache.
    """

    def __init__(self, total_bytes: int) -> None:
        self._cache = Cache(total_bytes)
        self._buffers = WriteBufferManager.new_write_buffer_manager_with_cache(
            total_bytes // 3,
            False,  # noqa: FBT003 - never stall: buffers beyond go to disk early  (a positional flag of the library)
            self._cache,
        )

    def mark_options(self) -> Options:
        """The options of the family of the mark: as little memory as can be."""
        options = Options(raw_mode=True)
        options.set_write_buffer_size(_MARK_BUFFER_BYTES)
        return options

    def options(self) -> Options:
        """The options of one store."""
        blocks = BlockBasedOptions()
        blocks.set_block_cache(self._cache)
        blocks.set_cache_index_and_filter_blocks(True)
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
        blocks.set_bloom_filter(_BLOOM_BITS, False)  # noqa: FBT003 - the library's signature
        options = Options(raw_mode=True)
        options.set_block_based_table_factory(blocks)
        options.create_if_missing(True)  # noqa: FBT003 - the library's signature
        options.create_missing_column_families(True)  # noqa: FBT003 - the library's signature
        options.set_paranoid_checks(True)
        # The mark must never be on disk before the entries it vouches for, a lost log included.
        options.set_atomic_flush(True)
        options.set_memtable_prefix_bloom_ratio(_BUFFER_BLOOM)
        options.set_memtable_whole_key_filtering(True)
        options.set_write_buffer_manager(self._buffers)
        options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
        options.set_arena_block_size(_ARENA_BYTES)
        options.set_max_write_buffer_number(_WRITE_BUFFERS)
        options.set_compression_type(DBCompressionType.lz4())
        options.set_max_open_files(_OPEN_FILES)
        options.set_manifest_preallocation_size(_MANIFEST_BYTES)
        options.set_keep_log_file_num(1)
        return options
