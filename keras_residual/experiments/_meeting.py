"""Processes on several hosts wait for each other before they begin.

JAX waits too, but if a host is missing it aborts the process and names nobody (tried:
`jax.distributed.initialize` of JAX 0.10.2, also with `jax_enable_recoverability`).
"""

import asyncio

_RETRY = 0.2  # seconds
_ANSWER = 5  # seconds that a host may take to answer


def meet(address: str, count: int, index: int, timeout: float) -> None:
    """Returns on all hosts once all have come. The port is then free again.

    Args:
        address: "host:port" of the first host.
        count: Number of hosts.
        index: Number of this host, 0 for the first.
        timeout: Seconds to wait for the first host, and by that one for the others.

    Raises:
        OSError: On all hosts, if one did not come in time, another number of hosts is
            expected, two have the same index, or the port is in use.
    """
    host, _, port = address.rpartition(":")
    if index == 0:
        asyncio.run(_gather(int(port), count, timeout))
    else:
        asyncio.run(_come(host.strip("[]"), int(port), f"{index}/{count}", timeout))


async def _gather(port: int, count: int, timeout: float) -> None:
    came: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
    all_came = asyncio.Event()

    async def admit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Keeps the connection of a host, or says why not."""
        try:
            line = await asyncio.wait_for(reader.readline(), _ANSWER)
            index, theirs = map(int, line.split(b"/"))
        except (OSError, ValueError):
            answer = "this is not a host of the job"
        else:
            if theirs == count and index not in came:
                came[index] = reader, writer
                if len(came) == count - 1:
                    all_came.set()
                return
            answer = f"two hosts have the index {index}"
            if theirs != count:
                answer = f"host 0 expects {count} hosts, and host {index} {theirs}"
        writer.write(f"{answer}\n".encode())
        writer.close()

    async with await asyncio.start_server(admit, None, port):
        answer = "go"
        try:
            await asyncio.wait_for(all_came.wait(), timeout)
        except TimeoutError:
            missing = sorted(set(range(1, count)) - set(came))
            answer = f"host {', '.join(map(str, missing))} did not come"
        for index, (reader, writer) in came.items():
            writer.write(f"{answer}\n".encode())
            # The others close first, so that the port is not blocked here.
            try:
                await asyncio.wait_for(reader.read(), _ANSWER)
            except (OSError, TimeoutError):
                answer = f"host {index} went away"
            writer.close()
    if answer != "go":
        raise ConnectionError(answer)


async def _come(host: str, port: int, words: str, timeout: float) -> None:
    reason = "it is silent"
    try:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    reader, writer = await asyncio.open_connection(host, port)
                    break
                except OSError as error:
                    reason = error.strerror or str(error)
                    await asyncio.sleep(_RETRY)
        writer.write(f"{words}\n".encode())
        # The first host began to wait before this one, and tells who did not come.
        line = await asyncio.wait_for(reader.readline(), timeout + _ANSWER)
        writer.close()
    except TimeoutError as error:
        raise ConnectionError(f"host 0 did not answer ({reason})") from error
    answer = line.decode(errors="replace").strip()
    if answer != "go":
        raise ConnectionError(answer or "host 0 went away")
