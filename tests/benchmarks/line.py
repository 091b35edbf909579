"""A line to a server that is far away: what goes through it takes a while, either way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 65_536


@contextmanager
def line(port: int, round_trip: float) -> Iterator[int]:
    """Listen on a port of this machine, yield it, and pass everything on to ``port`` and back.

    Args:
        port: where the server listens, on this machine.
        round_trip: seconds that a byte takes there and back; there is no limit to how many bytes
            are under way.
    """
    loop = asyncio.new_event_loop()
    ready, ports = threading.Event(), []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(
            _pass_on(reader, there_writer, round_trip / 2),
            _pass_on(there_reader, writer, round_trip / 2),
        )

    async def listen() -> None:
        listener = await asyncio.start_server(connected, "127.0.0.1", 0)
        ports.append(listener.sockets[0].getsockname()[1])
        ready.set()

    def work() -> None:
        loop.run_until_complete(listen())
        loop.run_forever()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait()
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float
) -> None:
    loop = asyncio.get_running_loop()
    # Whoever hangs up is nobody's fault.
    with suppress(ConnectionError):
        while data := await reader.read(_CHUNK):
            loop.call_later(delay, writer.write, data)
    loop.call_later(delay, writer.close)
