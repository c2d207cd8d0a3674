"""The same job by hand, as one writes it: confluent-kafka, fastavro, one record at a time.

Reads operations.departures exactly once into a topic of its own; prints one JSON line.
Usage: baseline.py GROUP OUTPUT_TOPIC SCHEMA_FILE RECORDS; HEADWATER_KAFKA, HEADWATER_REGISTRY set.
"""

import io
import json
import os
import resource
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Final, cast

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from fastavro import parse_schema, schemaless_reader, schemaless_writer

INPUT: Final = "operations.departures"
COMMIT_S: Final = 0.1
TAKE: Final = 5_000
LATE_MINUTES: Final = 15
SHORT_MILES: Final = 500
LONG_MILES: Final = 1_500


def delay_of(departure: dict[str, Any]) -> dict[str, Any]:
    """The output event of a departure that left."""
    miles = departure["distance"]
    names = ("flight_id", "carrier", "origin", "dest", "sched_dep")
    length = "short" if miles < SHORT_MILES else "medium" if miles < LONG_MILES else "long"
    return {
        **{name: departure[name] for name in names},
        "delay_minutes": departure["dep_delay"],
        "late": departure["dep_delay"] > LATE_MINUTES,
        "speed_class": length,
    }


class Baseline:
    """A transactional loop over single records."""

    def __init__(self, group: str, output: str, schema: dict[str, Any]) -> None:
        broker = {"bootstrap.servers": os.environ["HEADWATER_KAFKA"]}
        self.output = output
        self.output_schema = parse_schema(schema)
        self.schemas: dict[int, Any] = {}
        self.header = b"\0" + (0).to_bytes(4, "big")
        self.consumer = Consumer(
            {
                **broker,
                "group.id": group,
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "queued.min.messages": 200_000,
                "fetch.wait.max.ms": 50,
                "fetch.queue.backoff.ms": 10,
            }
        )
        self.producer = Producer(
            {
                **broker,
                "transactional.id": group,
                "linger.ms": 5,
                "batch.size": 1_000_000,
                "queue.buffering.max.messages": 1_000_000,
                "compression.type": "lz4",
            }
        )
        self.producer.init_transactions(30)
        self.consumer.subscribe([INPUT])

    def schema(self, schema_id: int) -> Any:
        """The parsed schema of an id."""
        if schema_id not in self.schemas:
            url = f"{os.environ['HEADWATER_REGISTRY']}/schemas/ids/{schema_id}"
            with urllib.request.urlopen(url, timeout=5) as reply:  # noqa: S310  # loopback
                self.schemas[schema_id] = parse_schema(json.loads(json.load(reply)["schema"]))
        return self.schemas[schema_id]

    def convert(self, value: bytes) -> bytes | None:
        """The framed output of a framed input; None when there is none."""
        reader = io.BytesIO(value)
        reader.seek(5)
        schema = self.schema(int.from_bytes(value[1:5], "big"))
        departure = cast("dict[str, Any]", schemaless_reader(reader, schema, None))
        if departure["dep_delay"] is None:
            return None
        writer = io.BytesIO()
        writer.write(self.header)
        schemaless_writer(writer, self.output_schema, delay_of(departure))
        return writer.getvalue()

    def run(self, total: int) -> dict[str, float]:
        """Process `total` records; the figures."""
        read = written = 0
        began_s = began_cpu_s = committed_s = 0.0
        positions: dict[int, int] = {}
        while read < total:
            messages = self.consumer.consume(TAKE, 0.05)
            if messages and not began_s:
                began_s, began_cpu_s = time.perf_counter(), time.process_time()
                committed_s = began_s
            if messages and not positions:
                self.producer.begin_transaction()
            for message in messages:
                if message.error():
                    raise KafkaException(message.error())
                value = self.convert(cast("bytes", message.value()))
                if value is not None:
                    self.producer.produce(self.output, value, message.key())
                    written += 1
                positions[cast("int", message.partition())] = cast("int", message.offset()) + 1
            read += len(messages)
            self.producer.poll(0)
            if positions and (time.perf_counter() - committed_s >= COMMIT_S or read >= total):
                offsets = [TopicPartition(INPUT, p, offset) for p, offset in positions.items()]
                group = self.consumer.consumer_group_metadata()
                self.producer.send_offsets_to_transaction(offsets, group, 30)
                self.producer.commit_transaction(30)
                positions, committed_s = {}, time.perf_counter()
        seconds, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        return {
            "records": read,
            "written": written,
            "seconds": round(seconds, 3),
            "records_per_second": round(read / seconds),
            "cpu_us_per_record": round(cpu_s / read * 1e6, 3),
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }


def main(group: str, output: str, schema_file: str, total: int) -> None:
    """Run and print the figures."""
    schema = json.loads(Path(schema_file).read_text(encoding="utf-8"))
    print(json.dumps(Baseline(group, output, schema).run(total)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
