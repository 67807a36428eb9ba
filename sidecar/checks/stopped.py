"""Why a look could not go on: the value of a reason that the kind's closed enum has."""


class Stopped(Exception):
    """A look that ends here. `detail` holds no secret, no row and nothing that a server sent."""

    def __init__(self, reason: str, detail: str, retry_after_seconds: float | None = None) -> None:
        """Keep what the observation will say."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds
