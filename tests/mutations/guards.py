"""The guards, each with the line that makes it and the test that holds it."""

from tests.mutations import (
    afterwards,
    behaving,
    checking,
    direct,
    forms,
    http,
    looking,
    memory,
    reporting,
    steering,
    stopping,
    trail,
    transport,
)
from tests.mutations.guard import Guard

DECISIONS = (
    Guard(
        name="a shrunken count is not believed",
        file="sidecar/domain/decide.py",
        line="if (before - now) * 100 > rule.detect.max_change_percent * before:",
        instead="if False:",
        test="tests/domain/test_decide.py",
        quick=True,
    ),
    Guard(
        name="caps round down",
        file="sidecar/domain/decide.py",
        line="to_integral_value(rounding=ROUND_DOWN)",
        instead="to_integral_value(rounding='ROUND_UP')",
        test="tests/domain/test_decide.py",
        quick=True,
    ),
    Guard(
        name="an unknown check leaves us blind",
        file="sidecar/domain/decide.py",
        line="if look is None or look.verdict is Verdict.UNKNOWN:",
        instead="if False:",
        test="tests/domain/test_decide.py",
        quick=True,
    ),
    Guard(
        name="money follows one unbroken chain",
        file="sidecar/domain/credits.py",
        line="if after != balance + amount:",
        instead="if False:",
        test="tests/domain/test_credits.py",
        quick=True,
    ),
)

GUARDS = (
    *DECISIONS,
    *trail.GUARDS,
    *afterwards.GUARDS,
    *reporting.GUARDS,
    *steering.GUARDS,
    *stopping.GUARDS,
    *memory.GUARDS,
    *direct.GUARDS,
    *forms.GUARDS,
    *behaving.GUARDS,
    *checking.GUARDS,
    *looking.GUARDS,
    *transport.GUARDS,
    *http.GUARDS,
)
