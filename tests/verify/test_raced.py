"""Which raced row may be corrected, by what the last reading of its evidence says."""

from dataclasses import replace
from datetime import timedelta

import pytest

from sidecar.engine.correct import Raced, _may
from sidecar.engine.evidence import Proven
from tests.domain.cast import NOW, chain, plan_row

ROW = Raced(planned=plan_row(), written="digest", proven=850)
LEDGER = chain(800, 50)


def test_a_row_whose_evidence_says_the_same_once_more_may_be_corrected() -> None:
    assert _may(ROW, Proven(amount=850, ledger=LEDGER), NOW)


@pytest.mark.parametrize(
    "proven",
    [
        pytest.param(None, id="nothing is proven any more"),
        pytest.param(Proven(amount=860, ledger=LEDGER), id="the evidence moved between two readings"),
        pytest.param(
            Proven(amount=850, ledger=(*LEDGER[:1], replace(LEDGER[1], created_at=NOW + timedelta(seconds=1)))),
            id="a movement is younger than the verification: its own UPDATE may be still to come",
        ),
        pytest.param(
            Proven(amount=850, ledger=(*LEDGER[:1], replace(LEDGER[1], created_at=None))),
            id="nobody knows how old a movement is",
        ),
    ],
)
def test_a_row_that_may_not_be_corrected(proven: Proven | None) -> None:
    assert not _may(ROW, proven, NOW)
