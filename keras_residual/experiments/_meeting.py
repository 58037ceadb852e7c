"""Processes on several hosts wait for each other before they begin.

JAX does so too, but if a host is missing it ends the process without naming the host.
"""

import contextlib
import socket
import time
from collections.abc import Iterator

_RETRY = 0.2  # seconds


def meet(address: str, count: int, index: int, timeout: float) -> None:
    """Returns on all hosts once all have come. The port is then free again.

    Args:
        address: "host:port" of the first host.
        count: Number of hosts.
        index: Number of this host, 0 for the first.
        timeout: Seconds to wait at most.

    Raises:
        ConnectionError: If a host did not come in time or expects another number of
            hosts, or two have the same index. The message is one line.
    """
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + timeout
    try:
        if index == 0:
            _gather(int(port), count, deadline)
        else:
            _come(host.strip("[]"), int(port), count, index, deadline)
    except TimeoutError as error:
        raise ConnectionError(str(error)) from error


def _gather(port: int, count: int, deadline: float) -> None:
    connections: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_server(port))
        while len(connections) < count - 1:
            missing = sorted(set(range(1, count)) - set(connections))
            with _in_time(server, deadline, f"host {_listed(missing)} did not come"):
                connection = stack.enter_context(server.accept()[0])
            answer = _admit(connection, connections, count, deadline)
            with contextlib.suppress(OSError):
                connection.sendall(answer.encode())
        for index, connection in connections.items():
            with _in_time(connection, deadline, f"host {index} went away"):
                connection.sendall(b"go\n")
                # The others close first, so that the port is not blocked here.
                connection.recv(1)


def _admit(
    connection: socket.socket,
    connections: dict[int, socket.socket],
    count: int,
    deadline: float,
) -> str:
    """Keeps the connection of a host, or says why not."""
    connection.settimeout(min(5, max(_RETRY, deadline - time.monotonic())))
    try:
        index, theirs = map(int, _line(connection).split("/"))
    except (OSError, ValueError):
        return "this is not a host of the job\n"
    if theirs != count:
        return f"host 0 expects {count} hosts, and host {index} {theirs}\n"
    if index in connections:
        return f"two hosts have the index {index}\n"
    connections[index] = connection
    return ""


def _come(host: str, port: int, count: int, index: int, deadline: float) -> None:
    while True:
        left = deadline - time.monotonic()
        try:
            connection = socket.create_connection((host, port), max(left, _RETRY))
            break
        except OSError as error:
            if left <= 0:
                reason = f"host 0 did not answer ({error.strerror or error})"
                raise TimeoutError(reason) from error
            time.sleep(_RETRY)
    with connection, _in_time(connection, deadline, "not all hosts came"):
        connection.sendall(f"{index}/{count}\n".encode())
        answer = _line(connection)
    if answer != "go":
        raise ConnectionError(answer or "host 0 went away")


def _server(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(
            ("", port), family=socket.AF_INET6, dualstack_ipv6=True
        )
    return socket.create_server(("", port))


@contextlib.contextmanager
def _in_time(connection: socket.socket, deadline: float, reason: str) -> Iterator[None]:
    connection.settimeout(max(_RETRY, deadline - time.monotonic()))
    try:
        yield
    except TimeoutError as error:
        raise TimeoutError(reason) from error


def _line(connection: socket.socket) -> str:
    received = b""
    while not received.endswith(b"\n") and len(received) < 200:
        part = connection.recv(200)
        if not part:
            break
        received += part
    return received.decode(errors="replace").strip()


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
