"""A resolver whose answers are written down (`sidecar.transport.resolving.Resolver`)."""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from sidecar.errors import TargetUnreachable, Unreached
from sidecar.transport.resolving import Address
from sidecar.transport.route import Family


@dataclass(slots=True, eq=False)
class Names:
    """Knows `hosts` for every name. `fails` with a cause, or is `slow` and never answers."""

    hosts: Sequence[str] = ("127.0.0.1",)
    fails: Unreached | None = None
    slow: bool = False
    asked: list[str] = field(default_factory=list)

    async def resolve(self, host: str, port: int, family: Family) -> Sequence[Address]:
        del family
        self.asked.append(host)
        if self.slow:
            await asyncio.Event().wait()
        if self.fails is not None:
            raise TargetUnreachable(self.fails, "as written down")
        return [Address(socket.AF_INET, (host, port)) for host in self.hosts]
