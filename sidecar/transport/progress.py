"""How far one exchange has come: what is known is told even when it ends halfway."""

from typing import Final

from sidecar.certificate import Certificate
from sidecar.errors import TargetUnreachable

EXTENSION: Final = "sidecar.progress"  # where a request carries its progress to the transport

RESOLVE, CONNECT, TLS, PROCESSING, TRANSFER = "resolve", "connect", "tls", "processing", "transfer"


class Progress:
    """The phases of one exchange, one after another, and what was learnt on the way.

    `failure` is set where the reason is already known while something is still being found out about it.
    """

    __slots__ = ("_at", "_phase", "_seconds", "address", "certificate", "failure", "tls_cipher", "tls_version")

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._phase: str | None = None
        self._at = 0.0
        self.address: str | None = None
        self.certificate: Certificate | None = None
        self.tls_version: str | None = None
        self.tls_cipher: str | None = None
        self.failure: TargetUnreachable | None = None

    @property
    def phase(self) -> str | None:
        """The phase that is under way."""
        return self._phase

    def enter(self, phase: str | None, at: float) -> None:
        """End the current phase at an instant of the loop's clock, and begin `phase` (None: nothing follows).

        Phases never overlap, so their sum is never more than the time between the first and the last call.
        """
        if self._phase is not None:
            self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + max(0.0, at - self._at)
        self._phase, self._at = phase, at

    def seconds(self) -> dict[str, float]:
        """Return what each finished phase took."""
        return dict(self._seconds)
