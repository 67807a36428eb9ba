"""The same stage as the engine's tests have."""

from tests.engine.conftest import clock, data, stage, state

__all__ = ["clock", "data", "stage", "state"]
