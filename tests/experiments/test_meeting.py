"""Hosts that wait for each other, as threads of one process."""

import re
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from keras_residual.experiments import _meeting

# Whoever waits for a host that does not come waits long enough for a slow one.
pytestmark = [pytest.mark.once, pytest.mark.slow]


@pytest.fixture
def port(reserve_port):
    return reserve_port()


@pytest.fixture
def address(port):
    return f"127.0.0.1:{port.getsockname()[1]}"


@pytest.fixture
def outcomes(address):
    """A function from the (count, index) of each host to what it raises, or None."""
    meet = _meeting.meet

    def outcomes(*hosts, timeout=5):
        with ThreadPoolExecutor(len(hosts)) as threads:
            calls = [
                threads.submit(meet, address, count, index, timeout)
                for count, index in hosts
            ]
            return [str(call.exception() or "") for call in calls]

    return outcomes


def test_all_come(outcomes, address, port):
    assert outcomes((3, 2), (3, 0), (3, 1), timeout=20) == ["", "", ""]
    port.close()
    # The next server there need not know that the port was in use.
    with socket.socket() as server:
        server.bind(("127.0.0.1", int(address.split(":")[1])))


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ([(4, 0), (4, 2)], ["host 1, 3 did not come"] * 2),
        ([(2, 1)], [r"host 0 did not answer \(.+\)"]),
        (
            [(2, 0), (3, 1)],
            ["host 0 expects 2 hosts, and host 1 3", "host 1 did not come"],
        ),
        (
            [(3, 0), (3, 1), (3, 1)],
            ["host 2 did not come"] * 2 + ["two hosts have the index 1"],
        ),
    ],
)
def test_all_are_told_who_is_missing(outcomes, hosts, expected):
    for outcome, pattern in zip(sorted(outcomes(*hosts)), expected, strict=True):
        assert re.fullmatch(pattern, outcome)


def test_strangers_are_sent_away(address):
    host, port = address.split(":")
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(_meeting.meet, address, 2, 0, 20)
        while True:
            try:
                stranger = socket.create_connection((host, int(port)))
                break
            except ConnectionRefusedError:
                pass
        with stranger:
            stranger.sendall(b"PRI * HTTP/2.0\n")
            assert stranger.recv(100) == b"this is not a host of the job\n"
        second = threads.submit(_meeting.meet, address, 2, 1, 20)
        assert first.exception() is None
        assert second.exception() is None
