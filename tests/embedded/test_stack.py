"""The stack as its users meet it: real processes, real ports, real data."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from headwater.embedded import Addresses, ServiceStatus, addresses, down, process, status, up
from headwater.embedded.home import Home
from headwater.errors import UnavailableError

pytestmark = pytest.mark.kafka

COMMAND = [sys.executable, "-c", "from headwater.cli.main import main; main()", "dev"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with a stack of its own, for tests that stop and kill."""
    place = tmp_path_factory.mktemp("own")
    up(place)
    yield place
    down(place)


@pytest.fixture
def running(directory: Path) -> Addresses:
    """The addresses of that stack, running."""
    return up(directory)


def pids(directory: Path) -> tuple[int | None, int | None]:
    """The processes of the stack."""
    now = status(directory)
    return now.kafka.pid, now.registry.pid


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`headwater dev …` in a process of its own."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_up_again_changes_nothing(directory: Path, running: Addresses) -> None:
    """The same addresses, the same processes."""
    before = pids(directory)
    assert up(directory) == running == addresses(directory)
    assert pids(directory) == before


def test_events_and_schemas_survive_a_restart_by_two_at_once(
    directory: Path, running: Addresses
) -> None:
    """After `down` the second `up` waits for the first, and a reader finds what was published."""
    publish(running, b"kept")
    down(directory)
    assert addresses(directory) is None
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(up, [directory, directory])
    assert first == second == running, "they did not start one stack at its old address"
    assert read_one(running) == b"kept"
    with urllib.request.urlopen(f"{running.registry}/subjects", timeout=20) as reply:  # noqa: S310 - loopback
        assert "events-value" in json.load(reply)


def publish(where: Addresses, value: bytes) -> None:
    """One event in a transaction, and one schema."""
    admin = AdminClient({"bootstrap.servers": where.kafka})
    admin.create_topics([NewTopic("events", 1, 1)])["events"].result(20)
    producer = Producer({"bootstrap.servers": where.kafka, "transactional.id": "test"})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce("events", value)
    producer.commit_transaction(20)
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{where.registry}/subjects/events-value/versions",
        data=json.dumps({"schema": '"bytes"'}).encode(),
        headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310 - loopback
        assert reply.status == 200


def read_one(where: Addresses) -> bytes | None:
    """The first event of the topic."""
    consumer = Consumer(
        {
            "bootstrap.servers": where.kafka,
            "group.id": "test",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe(["events"])
    message = consumer.poll(30)
    consumer.close()
    assert message is not None
    assert message.error() is None
    return message.value()


def test_a_service_that_died_is_started_again(directory: Path, running: Addresses) -> None:
    """`up` replaces the dead one at its old address and leaves the other alone."""
    kafka, registry = pids(directory)
    assert kafka is not None
    os.kill(kafka, signal.SIGKILL)
    assert process.wait_until(lambda: not status(directory).kafka.running, 60)
    assert up(directory) == running
    replaced, untouched = pids(directory)
    assert replaced != kafka
    assert untouched == registry


def test_down_finds_what_a_killed_command_started(tmp_path: Path) -> None:
    """A `kill -9` of the command in the middle of `up` leaves nothing that `down` cannot stop."""
    home = Home.within(tmp_path)
    command = subprocess.Popen([*COMMAND, "up"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    with command:
        assert process.wait_until(
            lambda: all(home.running(name) for name in ("kafka", "registry")), 60
        )
        command.kill()
    records = [home.running(name) for name in ("kafka", "registry")]
    down(tmp_path)
    for record in records:
        assert record is not None
        assert not process.is_running(record)


def test_down_leaves_other_stacks_alone(
    tmp_path: Path, directory: Path, running: Addresses
) -> None:
    """`down` elsewhere, or where a record points at a stranger's process, stops nobody."""
    home = Home.within(tmp_path)
    home.root.mkdir()
    stranger, _ = pids(directory)
    forged = {"pid": stranger, "started": "before the last boot", "port": 1}
    home.record_path("kafka").write_text(json.dumps(forged))
    down(tmp_path)
    down(tmp_path / "nothing-here")
    assert addresses(directory) == running


def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    """A fixed port that another program holds ends `up` with one sentence."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = run(tmp_path, "up", "--registry-port", str(port))
    assert answer.returncode == 69
    assert f"PORT_TAKEN: port {port} for the registry is taken" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert addresses(tmp_path) is None
    assert Home.within(tmp_path).running("kafka") is None


def test_another_port_than_the_running_one_is_refused(directory: Path, running: Addresses) -> None:
    """`up` never moves a running service silently."""
    with pytest.raises(UnavailableError, match="already listens on port") as caught:
        up(directory, kafka_port=1)
    assert caught.value.code == "STACK_RUNS"
    assert addresses(directory) == running


def test_a_failed_start_shows_its_cause_and_stops_the_rest(tmp_path: Path) -> None:
    """The message holds Kafka's own reason and the end of its log, but no Java stack frames."""
    home = Home.within(tmp_path)
    log = home.data("kafka") / "log"
    log.mkdir(parents=True)
    (log / "meta.properties").write_text("version=1\nnode.id=77\ncluster.id=abc\n")
    with pytest.raises(UnavailableError, match="Kafka ended while starting") as caught:
        up(tmp_path)
    message = str(caught.value)
    assert caught.value.code == "STACK_FAILED"
    assert "77" in message.splitlines()[0]
    assert str(home.log("kafka")) in message
    assert "\tat " not in message
    assert home.running("registry") is None


def test_the_command_prints_addresses_for_people_shells_and_programs(
    directory: Path, running: Addresses
) -> None:
    """`--format` env can be evaluated, json can be parsed, and nothing else is on the output."""
    env = run(directory, "up", "--format", "env")
    assert env.stdout == f"HEADWATER_KAFKA={running.kafka}\nHEADWATER_REGISTRY={running.registry}\n"
    told = json.loads(run(directory, "status", "--format", "json").stdout)
    assert told["kafka"]["address"] == running.kafka
    assert told["registry"]["answers"] is True
    assert running.registry in run(directory, "status").stdout


def test_status_says_what_to_do_when_nothing_runs(tmp_path: Path) -> None:
    """Exit 1 and the command that helps; nothing is created by asking."""
    answer = run(tmp_path, "status")
    assert answer.returncode == 1
    assert "`headwater dev up` starts it" in answer.stdout
    assert not list(tmp_path.iterdir())


def test_only_this_machine_reaches_the_stack(directory: Path, running: Addresses) -> None:
    """Every port of both services is bound to loopback."""
    del running
    mine = {pid for pid in pids(directory) if pid is not None}
    assert all(is_loopback(address) for pid in mine for address in listening(pid))
    assert all(len(listening(pid)) >= 2 for pid in mine)


def listening(pid: int) -> set[str]:
    """The local addresses, as the kernel writes them, of the listening sockets of a process."""
    sockets = {
        str(handle.readlink()).removeprefix("socket:[").removesuffix("]")
        for handle in Path(f"/proc/{pid}/fd").iterdir()
        if handle.is_symlink()
    }
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:  # 0A: LISTEN
                found.add(fields[1])
    return found


def is_loopback(address: str) -> bool:
    """127.0.0.1 in the kernel's hexadecimal, plain or as an IPv6-mapped address."""
    return address.partition(":")[0] in {"0100007F", "0000000000000000FFFF00000100007F"}


def test_a_stopped_service_runs_but_does_not_answer(directory: Path, running: Addresses) -> None:
    """`status` asks the service itself; a live process alone is not an answer."""
    del running
    _, registry = pids(directory)
    assert registry is not None
    os.kill(registry, signal.SIGSTOP)
    try:
        now: ServiceStatus = status(directory).registry
    finally:
        os.kill(registry, signal.SIGCONT)
    assert now.running
    assert not now.answers
