"""What the zygote and its spare say to each other, and hear when the other is gone."""

import os
import socket
from collections.abc import Iterator

import pytest

from worker.spare import Spare, say_ready, take_order

Ends = tuple[Spare, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """The zygote's side, and the socket of the spare's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield Spare(os.getpid(), ours), theirs


def test_a_spare_says_what_it_has_cost_and_is_given_an_order(ends: Ends) -> None:
    spare, end = ends
    assert (spare.ready, spare.cpu_seconds) == (False, 0.0)
    say_ready(end)
    assert spare.hear() and spare.ready and spare.cpu_seconds > 0
    with socket.socket() as sent:
        assert spare.give(b"{}", sent.fileno())
    taken = take_order(end)
    assert taken is not None and taken[0] == b"{}"
    os.close(taken[1])


def test_a_spare_that_is_gone_takes_no_order(ends: Ends) -> None:
    spare, end = ends
    end.close()
    with socket.socket() as sent:
        assert not spare.give(b"{}", sent.fileno())
    assert (spare.hear(), spare.ready) == (False, False)


def test_a_spare_whose_zygote_is_gone_has_no_order(ends: Ends) -> None:
    spare, end = ends
    spare.close()
    say_ready(end)
    assert take_order(end) is None
