"""How many frames a connection may send that are of no use to anybody."""

from router.http2.frames import ConnectionFailed, ErrorCode
from router.limits import PATIENCE_FRAMES, PATIENCE_FRAMES_SECOND


class Patience:
    """A store that such frames use up, and that time and useful work fill again.

    PING, SETTINGS, PRIORITY, WINDOW_UPDATE, RST_STREAM, tiny and unknown frames and refused streams are
    all legal, cost the sender next to nothing, and make work here. A client that does real work earns
    many times what it needs.
    """

    __slots__ = ("_filled_at", "_left")

    def __init__(self, now: float) -> None:
        self._left = float(PATIENCE_FRAMES)
        self._filled_at = now

    def spend(self, now: float) -> None:
        """One more such frame; raises ConnectionFailed."""
        self._left -= 1
        if self._left >= 0:
            return
        self._left += (now - self._filled_at) * PATIENCE_FRAMES_SECOND
        self._left = min(self._left, PATIENCE_FRAMES)
        self._filled_at = now
        if self._left < 0:
            reason = "Too many frames that ask for nothing, or requests that are given up."
            raise ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, reason)

    def earn(self, frames: int) -> None:
        """Something useful was done that may bring so many such frames about."""
        self._left = min(self._left + frames, PATIENCE_FRAMES)
