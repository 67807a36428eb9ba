"""Guards of the connection to a target that may be hostile."""

from tests.mutations.guard import Guard

EXCHANGE, HOSTILE = "tests/checks/test_exchange.py", "tests/checks/hostile/test_hostile.py"

GUARDS = (
    Guard(
        name="a header cannot end early",
        file="sidecar/transport/request.py",
        line="if _UNFIT.search(name) or _UNFIT.search(value):",
        instead="if False:",
        test=f"{EXCHANGE}::test_a_header_that_would_end_early_never_leaves",
        quick=True,
    ),
    Guard(
        name="few of many addresses are tried",
        file="sidecar/transport/connecting.py",
        line="_interleaved(addresses)[:ADDRESSES_AT_MOST]",
        instead="_interleaved(addresses)",
        test=f"{EXCHANGE}::test_a_name_with_50_addresses_is_tried_at_4_and_no_connection_is_left_open",
    ),
    Guard(
        name="an untrusted certificate is read",
        file="sidecar/transport/fresh.py",
        line="if isinstance(error.__cause__, ssl.SSLCertVerificationError):",
        instead="if False:",
        test=f"{EXCHANGE}::test_a_certificate_that_is_not_trusted_is_known_all_the_same",
    ),
    Guard(
        name="a second look never changes what failed",
        file="sidecar/wire.py",
        line="if progress.failure is not None:",
        instead="if False:",
        test=f"{EXCHANGE}::test_a_second_look_that_hangs_changes_nothing_and_keeps_the_deadline",
    ),
    Guard(
        name="a slow resolver says nothing about the target",
        file="sidecar/wire.py",
        line="if progress.phase == RESOLVE:",
        instead="if False:",
        test=HOSTILE,
    ),
    Guard(
        name="what is not body is bounded",
        file="sidecar/transport/reading.py",
        line="if self._overhead > HEAD_BYTES_AT_MOST + OVERHEAD_AT_MOST * self._body and not self._is_whole:",
        instead="if False:",
        test=HOSTILE,
    ),
    Guard(
        name="a body is read no further than somebody takes it",
        file="sidecar/transport/reading.py",
        line="if len(self._ready) >= BUFFERED_BYTES and",
        instead="if False and",
        test=f"{EXCHANGE}::test_a_body_that_nobody_takes_is_not_read",
    ),
    Guard(
        name="a size that is announced is believed when it is too large",
        file="sidecar/transport/body.py",
        line='if coding != "gzip" and may_come and _announced(headers) > bytes_at_most:',
        instead="if False:",
        test=HOSTILE,
    ),
    Guard(
        name="what changed about a check is remembered",
        file="sidecar/engine/watch.py",
        line="if self._saved.get(check.name) != kept:",
        instead="if check.name not in self._saved:",
        test="tests/engine/test_watch.py",
    ),
)
