"""The body of an answer, whole, under a cap that counts what it decompresses to."""

import zlib
from collections.abc import Awaitable, Callable, Mapping

from sidecar.errors import TargetUnreachable, Unreached

_WITHOUT_BODY = (204, 304)


async def read_body(
    next_piece: Callable[[], Awaitable[bytes | None]], headers: Mapping[str, str], bytes_at_most: int, *, may_come: bool
) -> tuple[bytes, int]:
    """Return the body, and how many bytes of it came over the wire. `next_piece` returns None at its end.

    `headers` are in lower case; `may_come` is false where what they announce does not come. Raises: TargetUnreachable.
    """
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity", "gzip"):
        raise TargetUnreachable(Unreached.PROTOCOL_BROKEN, "a content coding that was not asked for")
    if coding != "gzip" and may_come and _announced(headers) > bytes_at_most:
        raise TargetUnreachable(Unreached.BODY_TOO_LARGE, f"more than {bytes_at_most} bytes announced")
    inflater = _Inflater() if coding == "gzip" else None
    pieces: list[bytes] = []
    size = transferred_bytes = 0
    while (raw := await next_piece()) is not None:
        transferred_bytes += len(raw)
        piece = inflater.inflate(raw, bytes_at_most - size + 1) if inflater else raw
        size += len(piece)
        if size > bytes_at_most:
            raise TargetUnreachable(Unreached.BODY_TOO_LARGE, f"more than {bytes_at_most} bytes")
        pieces.append(piece)
    if inflater and inflater.is_amid:
        raise TargetUnreachable(Unreached.CUT_OFF, "the compressed body ends too early")
    return b"".join(pieces), transferred_bytes


def body_may_come(method: str, status: int) -> bool:
    """Tell whether the body that an answer announces will come."""
    return method != "HEAD" and status not in _WITHOUT_BODY


def _announced(headers: Mapping[str, str]) -> int:
    announced = headers.get("content-length", "")
    return int(announced) if announced.isdecimal() and len(announced) < 20 else 0


class _Inflater:
    """Inflates gzip, several members included, never by more than it is asked for."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.is_amid = False

    def inflate(self, raw: bytes, bytes_at_most: int) -> bytes:
        found = b""
        while raw and len(found) < bytes_at_most:
            if self._member.eof:
                self._member = zlib.decompressobj(16 + zlib.MAX_WBITS)
            try:
                found += self._member.decompress(raw, bytes_at_most - len(found))
            except zlib.error as error:
                raise TargetUnreachable(Unreached.PROTOCOL_BROKEN, "a body that is not the gzip it claims") from error
            self.is_amid = not self._member.eof
            raw = self._member.unused_data
        return found
