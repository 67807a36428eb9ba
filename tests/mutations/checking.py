"""What checks believe: the service key's proof, and the catalogue."""

from tests.mutations.guard import Guard

DOMAIN = "tests/domain/test_service_key.py"
CATALOGUE = "tests/checks/test_catalogue.py"
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
    Guard(
        name="a ledger that a policy opens is told",
        file="sidecar/domain/schema_judge.py",
        line="if facts.may(role, part.table, command) and facts.admits(role, part, command)",
        instead="if False",
        test=f"{CATALOGUE}::test_each_damage_has_its_reason[the fault]",
    ),
    Guard(
        name="RLS that is off lets everything through",
        file="sidecar/domain/schema_facts.py",
        line="if not relation.row_security or self.roles.get(role, False):",
        instead="if self.roles.get(role, False):",
        test=f"{CATALOGUE}::test_each_damage_has_its_reason[the ledger without RLS]",
    ),
    Guard(
        name="a partition is a table of its own",
        file="sidecar/checks/catalogue_reading.py",
        line=" union select p.relid from pg_partition_tree(c.oid) p",
        instead="",
        test=f"{CATALOGUE}::test_each_damage_has_its_reason[a partition of the ledger]",
    ),
    Guard(
        name="a view over a view opens as well",
        file="sidecar/checks/catalogue_reading.py",
        line="reach.opens or v.relkind = 'm' or not exists (",
        instead="v.relkind = 'm' or not exists (",
        test=f"{CATALOGUE}::test_each_damage_has_its_reason[a view over a hidden view]",
    ),
    Guard(
        name="a trigger of replicas does not fire",
        file="sidecar/checks/catalogue_reading.py",
        line='_FIRES = ("O", "A")',
        instead='_FIRES = ("O", "A", "R")',
        test=f"{CATALOGUE}::test_each_damage_has_its_reason[for replicas only]",
    ),
    Guard(
        name="a foreign key not validated vouches for nothing",
        file="sidecar/checks/catalogue_reading.py",
        line="k.convalidated and coalesce(",
        instead="coalesce(",
        test=f"{CATALOGUE}::test_each_damage_has_its_reason[a foreign key not validated]",
    ),
    Guard(
        name="a partial index is no index of every row",
        file="sidecar/checks/catalogue_reading.py",
        line="order by part.position\n), i.indpred is null",
        instead="order by part.position\n), true",
        test=f"{CATALOGUE}::test_each_damage_has_its_reason[indexes that do not serve]",
    ),
    Guard(
        name="another database is not called damaged",
        file="sidecar/domain/schema_judge.py",
        line="if not any(table in facts.relations for table in wish.relations):",
        instead="if False:",
        test=f"{CATALOGUE}::test_another_database_is_not_called_damaged",
    ),
    Guard(
        name="the catalogue is read as the detector",
        file="sidecar/checks/catalogue.py",
        line="sessions.reading(Role.DETECTOR,",
        instead="sessions.reading(Role.FIXER,",
        test=f"{CATALOGUE}::test_the_demos_schema_is_healthy",
    ),
    Guard(
        name="a silent database keeps no socket of ours",
        file="sidecar/checks/catalogue.py",
        line="            _let_go(error)\n",
        instead="",
        test=f"{CATALOGUE}::test_a_server_that_says_nothing_ends_within_the_timeout_and_leaves_no_socket_behind",
    ),
)
