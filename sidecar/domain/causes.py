"""What it means that a row did not land, in words: by reason word or SQLSTATE."""

# Source of the SQLSTATEs: PostgreSQL 18, appendix A.
_MEANINGS = {
    "23503": "a row that it refers to is gone (foreign key)",
    "23505": "another row has one of its values already (unique)",
    "23514": "a check of the table refuses one of its values",
    "23502": "a column that must have a value got none (not null)",
    "23P01": "it collides with another row (exclusion)",
    "42501": "a policy of row level security refuses it",
    "44000": "the view that it goes through refuses it (with check option)",
    "P0001": "a trigger or function raised an error",
    "not_landed": "a trigger or rule of the table swallowed it without an error",
    "row_exists": "somebody else was quicker",
    "evidence_moved": "the evidence moved on since the plan; the next look judges it anew",
    "rows_carry_no_mark": "after a crash nobody can tell whose row it is: the rule writes no mark",
    "corrected": "a writer of the ledger had raced its money, which was put right",
}


def cause_of(reason: str) -> str:
    """Return what a row's reason means; '' where the reason speaks for itself.

    A reason may name the constraint after its SQLSTATE: `23505:users_email_key`.
    """
    code, _, constraint = reason.partition(":")
    meaning = _MEANINGS.get(code, "")
    return f"{meaning}, constraint {constraint}" if meaning and constraint else meaning
