"""librdkafka's statistics, read down to the few figures worth an alert."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from headwater.model import Partition
from headwater.observe import catalogue
from headwater.observe.catalogue import Metric


@dataclass(frozen=True, slots=True)
class ClientStatistics:
    """One client's figures: `client` is consumer or producer, `ends` its read_committed ends."""

    GAUGES: ClassVar = (
        catalogue.CLIENT_QUEUED_MESSAGES,
        catalogue.CLIENT_QUEUED_BYTES,
        catalogue.CLIENT_SENT_BYTES,
        catalogue.CLIENT_RECEIVED_BYTES,
        catalogue.CLIENT_ROUND_TRIP,
        catalogue.CLIENT_REQUEST_TIMEOUTS,
    )

    client: str
    gauges: Mapping[Metric, float]
    ends: Mapping[Partition, int]


def read_statistics(text: str) -> ClientStatistics:
    """The figures of one statistics text.

    Raises ValueError when it is not librdkafka's JSON.
    """
    try:
        statistics = json.loads(text)
        return ClientStatistics(
            client=statistics["type"],
            gauges=_gauges(statistics),
            ends=dict(_ends(statistics)),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not librdkafka statistics: {type(error).__name__}") from None


def _gauges(statistics: Mapping[str, Any]) -> Mapping[Metric, float]:
    brokers = statistics["brokers"].values()
    partitions = [held for _, _, held in _partitions(statistics)]
    return {
        catalogue.CLIENT_QUEUED_MESSAGES: statistics["msg_cnt"]
        + sum(held.get("fetchq_cnt", 0) for held in partitions),
        catalogue.CLIENT_QUEUED_BYTES: statistics["msg_size"]
        + sum(held.get("fetchq_size", 0) for held in partitions),
        catalogue.CLIENT_SENT_BYTES: statistics["tx_bytes"],
        catalogue.CLIENT_RECEIVED_BYTES: statistics["rx_bytes"],
        catalogue.CLIENT_ROUND_TRIP: max(
            (broker.get("rtt", {}).get("p99", 0) / 1e6 for broker in brokers),  # from µs
            default=0,
        ),
        catalogue.CLIENT_REQUEST_TIMEOUTS: sum(broker.get("req_timeouts", 0) for broker in brokers),
    }


def _partitions(statistics: Mapping[str, Any]) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    for name, topic in statistics.get("topics", {}).items():
        for index, held in topic["partitions"].items():
            if int(index) >= 0:  # -1 stands for messages without a partition yet
                yield name, int(index), held


def _ends(statistics: Mapping[str, Any]) -> Iterator[tuple[Partition, int]]:
    if statistics["type"] != "consumer":
        return
    for topic, index, held in _partitions(statistics):
        if held.get("ls_offset", -1) >= 0:  # below zero: not known yet
            yield Partition(topic, index), held["ls_offset"]
