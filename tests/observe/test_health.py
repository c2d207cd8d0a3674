"""Health: what the probes answer, as pure logic over what the loop said and the time."""

import pytest

from headwater.clock import ManualClock
from headwater.model import TableStanding
from headwater.observe import Health


@pytest.fixture
def clock() -> ManualClock:
    """A clock at zero."""
    return ManualClock()


@pytest.fixture
def health(clock: ManualClock) -> Health:
    """The health of a process that has just begun."""
    return Health(clock=clock, heartbeat_limit_s=90)


def running(health: Health) -> Health:
    """The same once it runs."""
    health.started()
    health.assigned()
    return health


def test_a_starting_process_is_alive_but_not_ready(health: Health) -> None:
    """Kubernetes neither kills it nor counts on it."""
    assert health.livez().is_ok
    assert not health.startupz().is_ok
    assert "starting" in health.readyz().reasons


def test_a_running_process_with_an_assignment_is_ready(health: Health) -> None:
    """All three probes agree."""
    running(health)
    assert health.livez().is_ok
    assert health.startupz().is_ok
    assert health.readyz().is_ok


def test_a_loop_that_stands_still_is_not_alive(health: Health, clock: ManualClock) -> None:
    """After the limit, and again alive with the next turn."""
    running(health)
    clock.advance(90)
    assert health.livez().is_ok
    clock.advance(1)
    assert health.livez().reasons == ("the loop has not come round for 91 s",)
    assert not health.readyz().is_ok
    health.beat()
    assert health.livez().is_ok


def test_waiting_for_the_broker_is_alive_but_not_ready(health: Health) -> None:
    """A restart would not help, so livez stays green."""
    running(health).waiting("broker does not answer")
    assert health.livez().is_ok
    assert health.readyz().reasons == ("waiting: broker does not answer",)
    health.waiting(None)
    assert health.readyz().is_ok


def test_a_draining_process_is_alive_but_not_ready(health: Health) -> None:
    """It finishes in peace and gets nothing new."""
    running(health).draining()
    assert health.livez().is_ok
    assert health.readyz().reasons == ("draining",)


def test_without_an_assignment_it_is_not_ready(health: Health) -> None:
    """Until the group answers, be it with nothing for a spare replica."""
    running(health).unassigned()
    assert health.readyz().reasons == ("no assignment from the group",)


def test_a_table_that_is_being_read_holds_the_start_up(health: Health, clock: ManualClock) -> None:
    """/startupz and /readyz say which and how much; the process is alive as long as it goes on."""
    health.started()
    clock.advance(80)
    health.tables([TableStanding("fleet.aircraft", 10, 10, 25)])
    clock.advance(80)
    assert health.livez().is_ok
    said = "reading table fleet.aircraft: 25 offsets left"
    assert health.startupz().reasons == (said,)
    assert said in health.readyz().reasons
    health.tables([TableStanding("fleet.aircraft", 35, 35, 0)])
    health.assigned()
    assert health.startupz().is_ok
    assert health.readyz().is_ok
