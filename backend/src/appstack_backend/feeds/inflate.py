"""gzip to bytes, in pieces of bounded size, whatever the stream unpacks to."""

import zlib
from collections.abc import Iterator

from appstack_backend.errors import ImportCompressionInvalid

PIECE_BYTES = 64 << 10
GZIP = 31  # zlib's window bits for a gzip header and trailer


class Inflater:
    """Unpacks a gzip stream of one or more members."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(GZIP)
        self._is_empty = True

    @property
    def is_complete(self) -> bool:
        """Whether the bytes fed so far end where a member ends."""
        return self._is_empty or self._member.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The unpacked bytes in few pieces of at most PIECE_BYTES. Raises ImportCompressionInvalid."""
        piece = bytearray()
        failure: ImportCompressionInvalid | None = None
        while data and not failure:
            if self._member.eof:
                data = data.lstrip(b"\0")  # padding between members and at the end is allowed
                if not data:
                    break
                self._member = zlib.decompressobj(GZIP)
            self._is_empty = False
            try:
                piece += self._member.decompress(data, PIECE_BYTES - len(piece))
            except zlib.error:
                failure = ImportCompressionInvalid()
            data = self._member.unconsumed_tail or self._member.unused_data
            if len(piece) == PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        if piece:
            yield bytes(piece)
        if failure:
            raise failure
