"""The session fixture."""

import urllib.request

import pytest

from headwater.embedded import Addresses


@pytest.mark.kafka
def test_the_session_stack_answers(stack: Addresses) -> None:
    """Whoever asks for `stack` gets addresses of services that answer."""
    with urllib.request.urlopen(f"{stack.registry}/subjects", timeout=20) as reply:  # noqa: S310 - loopback
        assert reply.status == 200
