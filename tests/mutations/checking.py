"""What checks believe: the service key's proof, and the catalogue."""

from tests.mutations.guard import Guard

DOMAIN = "tests/domain/test_service_key.py"
OPTIONS = "tests/checks/test_service_key_options.py"

GUARDS = (
    Guard(
        name="a user who sees the rows of others is a leak",
        file="sidecar/domain/key_options.py",
        line="for step in user.others if step.visible]",
        instead="for step in user.others if False]",
        test=OPTIONS,
    ),
    Guard(
        name="a control that sees what the user may not see distrusts all",
        file="sidecar/domain/key_options.py",
        line="if control is None or not control.visible:",
        instead="if True:",
        test=OPTIONS,
        quick=True,
    ),
    Guard(
        name="a key is good only where the control came out closed",
        file="sidecar/domain/key_proof.py",
        line="        and control is not None\n        and control.is_closed",
        instead="",
        test=DOMAIN,
    ),
    Guard(
        name="a write counts once it was read back",
        file="sidecar/domain/key_proof.py",
        line="sees_own(write.written) and closed and sees_own(write.read_back)",
        instead="sees_own(write.written) and closed",
        test=DOMAIN,
    ),
    Guard(
        name="only a table of its own is written",
        file="sidecar/checks/service_key_keys.py",
        line="self.canary.table in {*every, self.profiles}:",
        instead="False:",
        test=OPTIONS,
    ),
    Guard(
        name="the root is no privilege where anon sees it",
        file="sidecar/domain/key_proof.py",
        line="return shown and anon is not None and anon.status in (401, 403)",
        instead="return shown",
        test=OPTIONS,
    ),
    Guard(
        name="a bare refusal is vouched for before a key is shown",
        file="sidecar/domain/key_layout.py",
        line="and evidence.key_set is not None and evidence.key_set.matches",
        instead="",
        test=OPTIONS,
    ),
    Guard(
        name="a hosted name is answered for by no gateway of one's own",
        file="sidecar/domain/key_layout.py",
        line="if wire is None or evidence.lint.ref is not None:",
        instead="if wire is None:",
        test=DOMAIN,
    ),
)
