"""Orders that do something to the process that works on them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import polars as pl

from headwater.adapters.memory.reader import MemoryRecords
from headwater.contract import Encoder, load_contract
from headwater.model import Partition, RawRecord

STEP_S: Final = 3.0  # a child works for the first time: what it imports late counts too
SLOW_S: Final = 1.0  # what a slow order takes
LONG_S: Final = 2.2  # what a long order takes in each of two steps
TOPIC: Final = "shop.orders"
SCHEMA: Final = """{"type": "record", "name": "Order", "namespace": "shop", "doc": "An order.",
 "fields": [{"name": "order_id", "type": "string", "doc": "What it does to a process."}],
 "key": ["order_id"]}"""
PRODUCT: Final = '''
import ctypes, errno, os, re, signal, time
import polars as pl
from headwater import DataProduct

product = DataProduct(name="shop.bills", owner="shop@example.org")
orders = product.stream("shop.orders", contract=1, start="earliest")
hoard = []

def act(frame: pl.DataFrame) -> pl.DataFrame:
    """Does what the orders say."""
    for order in frame["order_id"]:
        if order == "segfault":
            ctypes.string_at(0)
        if order == "exit":
            os._exit(0)
        if order == "memory":
            bytes(2**40)
        if order == "kernel":
            raise OSError(errno.ENOMEM, "secret payload")
        if order == "grow":
            held = []
            while True:
                held.append(b"x" * 2**24)
        if order == "loop":
            while True:
                pass
        if order == "regex":
            re.match(r"(a+)+$", "a" * 64 + "b")
        if order == "deaf":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            while True:
                pass
        if order == "slow":
            time.sleep(1)
        if order == "long":
            time.sleep(2.2)
        if order == "hoard":
            hoard.append(b"x" * 2**25)
        if order == "raise":
            raise ValueError("secret payload")
        if order == "interrupt":
            raise KeyboardInterrupt("secret payload")
        if order == "close":
            raise GeneratorExit("secret payload")
        if order == "speak":
            print("a word on standard output")
            print("score", open("/proc/self/oom_score_adj").read())
            print("leads its session:", os.getsid(0) == os.getpid())
    return frame

def act_alone(event):
    """Eats what there is, for one order; or finds nothing there."""
    if event["order_id"] == "long":
        time.sleep(2.2)
    if event["order_id"] == "eat":
        bytes(2**40)
    if event["order_id"] == "starve":
        raise OSError(errno.ENOMEM, "secret payload")
    return event

product.publish(orders.map(act).map_events(act_alone), contract=1)
'''


def encoded(product: Path, orders: Sequence[str]) -> MemoryRecords:
    """Records of these orders."""
    contract = load_contract(product.parents[3] / "schemas", TOPIC, 1)
    frame = pl.DataFrame({"order_id": orders}).with_row_index("_row")
    found = Encoder(contract, 1).encode(frame)
    pairs = zip(found.keys, found.values, strict=True)
    here = Partition(TOPIC, 0)
    return MemoryRecords(TOPIC, [RawRecord(here, at, 0, *pair) for at, pair in enumerate(pairs)])


def alive() -> None:
    """All is well."""
