"""Does anybody answer at an address? A TCP connection that is opened, and closed again; nothing is said."""

import asyncio
import errno
import socket

from appstack_operator.rounds import Word

LIMIT_SECONDS = 1.0
# What a kernel says when nobody on the way, or at the other end, has said a word.
SILENCES = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN}
REFUSALS = {errno.ECONNREFUSED, errno.ECONNRESET}


async def knock(address: str, port: int) -> Word:
    """What comes of it within a second. A refusal is an answer: somebody is there to refuse."""
    loop = asyncio.get_running_loop()
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as door:
            door.setblocking(False)
            try:
                async with asyncio.timeout(LIMIT_SECONDS):
                    await loop.sock_connect(door, (address, port))
            except TimeoutError:
                return word_at_the_end(door)
    except OSError as error:
        return word_of(error.errno)
    return Word.ANSWER


def word_at_the_end(door: socket.socket) -> Word:
    """What the kernel knows when the time is over: a process that was busy itself may have missed the answer."""
    if code := door.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return word_of(code)
    try:
        door.getpeername()
    except OSError:
        return Word.SILENCE
    return Word.ANSWER


def word_of(code: int | None) -> Word:
    """What an error of the system means."""
    if code in REFUSALS:
        return Word.ANSWER
    return Word.SILENCE if code in SILENCES else Word.UNASKED
