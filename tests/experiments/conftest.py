"""What the tests of the engine share."""

import contextlib
import socket

import pytest


@pytest.fixture(scope="session")
def reserve_port():
    """A function that binds a socket: nobody but a server who asks gets its port.

    That server must set SO_REUSEADDR, as the servers here do.
    """
    with contextlib.ExitStack() as stack:

        def reserve_port():
            reserved = stack.enter_context(socket.socket())
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind(("127.0.0.1", 0))
            return reserved

        yield reserve_port
