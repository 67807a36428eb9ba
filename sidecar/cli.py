"""The command line: thin. Each verb calls one function of `sidecar.verbs`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sidecar.config.settings import Scope
from sidecar.domain.plan import PlanStatus
from sidecar.verbs import runner

cli = typer.Typer(
    name="sidecar",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Watch a Supabase-backed product, and safely repair users whose credits exist without a profile row.",
    epilog="Exit codes: 0 clean, 1 violations or unhealthy, 2 usage or configuration, 3 could not look, "
    "4 refused by a guard, 5 verification failed, 130 interrupted.",
)

audit = typer.Typer(no_args_is_help=True, help="The trail of everything that Sidecar changed.")
cli.add_typer(audit, name="audit")

ConfigPath = Annotated[
    Path, typer.Option("--config", envvar="SIDECAR_CONFIG", help="Configuration file.", show_default=True)
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Actor = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Act under this name; see tokens.")]
DEFAULT_CONFIG = Path("sidecar.yaml")


@cli.command(epilog="Example: sidecar run --config /etc/sidecar/sidecar.yaml")
def run(config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Run the daemon: checks and rules on their schedules, metrics and status page over HTTP."""
    from sidecar.daemon import run_daemon

    runner.leave(run_daemon(config))


@cli.command(epilog="Example: sidecar check service-key --json")
def check(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Checks; all when none.")] = None,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJSON = False,
) -> None:
    """Look once, now, and say what was seen."""
    from sidecar.verbs import looking

    runner.perform(config, lambda app, _: looking.check(app, names or []), as_json=as_json)


@cli.command(epilog="Example: sidecar validate --config sidecar.yaml")
def validate(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJSON = False) -> None:
    """Read configuration and rules, and list every problem with file, line and column."""
    runner.leave(runner.validate(config, as_json=as_json))


@cli.command(epilog="Example: sidecar detect credits_without_profile")
def detect(
    rules: Annotated[list[str] | None, typer.Argument(metavar="[RULE]...", help="Rules; all when none.")] = None,
    accept_change: Annotated[
        bool, typer.Option("--accept-change", help="Believe a count that shrank: you know why.")
    ] = False,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJSON = False,
    actor: Actor = None,
) -> None:
    """Look at the data with a proven read, and count the damage. Writes nothing."""
    from sidecar.verbs import looking

    scope = Scope.OPERATE if accept_change else None
    runner.perform(
        config,
        lambda app, who: looking.detect(app, rules or [], accept_change=who if accept_change else None),
        as_json=as_json,
        actor=actor,
        scope=scope,
    )


@cli.command(epilog="Example: sidecar plan credits_without_profile --out plan.json")
def plan(
    rule: str,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the plan to this file (mode 0600).")] = None,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJSON = False,
    actor: Actor = None,
) -> None:
    """Make a plan that waits for a person: explicit rows, each value with its origin."""
    from sidecar.verbs import repairing

    runner.perform(
        config, lambda app, who: repairing.plan(app, rule, who, out), as_json=as_json, actor=actor, scope=Scope.PLAN
    )


@cli.command(epilog="Example: sidecar show plan.json")
def show(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="A plan's id, or the path of its file.")],
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJSON = False,
) -> None:
    """Show what a plan would do."""
    from sidecar.verbs import repairing

    runner.perform(config, lambda app, _: repairing.show(app, plan), as_json=as_json)


@cli.command(epilog="Example: sidecar approve 20260101T120000-1a2b3c4d --as anna")
def approve(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="A plan's id, or the path of its file.")],
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJSON = False,
    actor: Actor = None,
) -> None:
    """Approve a waiting plan. Its author's token cannot."""
    from sidecar.verbs import repairing

    runner.perform(
        config,
        lambda app, who: repairing.judge(app, plan, who, PlanStatus.APPROVED),
        as_json=as_json,
        actor=actor,
        scope=Scope.APPROVE,
    )


@cli.command(epilog="Example: sidecar reject 20260101T120000-1a2b3c4d")
def reject(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="A plan's id, or the path of its file.")],
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJSON = False,
    actor: Actor = None,
) -> None:
    """Reject a waiting plan."""
    from sidecar.verbs import repairing

    runner.perform(
        config,
        lambda app, who: repairing.judge(app, plan, who, PlanStatus.REJECTED),
        as_json=as_json,
        actor=actor,
        scope=Scope.APPROVE,
    )


@cli.command(epilog="Example: sidecar apply 20260101T120000-1a2b3c4d")
def apply(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="A plan's id, or the path of its file.")],
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJSON = False,
    actor: Actor = None,
) -> None:
    """Apply an approved plan under every guard of this moment, and verify it from the source."""
    from sidecar.verbs import repairing

    runner.perform(
        config, lambda app, who: repairing.apply(app, plan, who), as_json=as_json, actor=actor, scope=Scope.OPERATE
    )


@cli.command(epilog="Example: sidecar backfill credits_without_profile --dry-run")
def backfill(
    rule: str,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide, show, and write nothing.")] = False,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJSON = False,
    actor: Actor = None,
) -> None:
    """Look, plan, apply and verify now. Typing it is the approval; every guard still holds."""
    from sidecar.verbs import repairing

    if dry_run:
        runner.perform(config, lambda app, _: repairing.rehearse(app, rule), as_json=as_json)
    runner.perform(
        config, lambda app, who: repairing.backfill(app, rule, who), as_json=as_json, actor=actor, scope=Scope.OPERATE
    )


@cli.command(
    epilog='Example: sidecar attest 22cb3917-57f6-49c6-ac96-ec266570081b --credits 1200 --reason "invoice 4711"'
)
def attest(
    user_id: str,
    credits_: Annotated[str, typer.Option("--credits", metavar="N", help="The balance you vouch for.")],
    reason: Annotated[str, typer.Option("--reason", help="Where the number comes from; audited.")],
    rule: Annotated[str | None, typer.Option("--rule", help="Whose table is meant, if there are several.")] = None,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJSON = False,
    actor: Actor = None,
) -> None:
    """Record a balance that a person vouches for. It ranks above snapshot and ledger."""
    from sidecar.verbs import repairing

    runner.perform(
        config,
        lambda app, who: repairing.attest(app, user_id, credits_, reason, rule, who),
        as_json=as_json,
        actor=actor,
        scope=Scope.PLAN,
    )


@cli.command(epilog="Example: sidecar quarantine credits_without_profile")
def quarantine(
    rule: Annotated[str | None, typer.Argument()] = None,
    release: Annotated[int | None, typer.Option("--release", metavar="ID", help="Let this row go.")] = None,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJSON = False,
    actor: Actor = None,
) -> None:
    """List the rows that are held back, each with its reason, or release one."""
    from sidecar.verbs import looking

    runner.perform(
        config,
        lambda app, who: looking.quarantine(app, rule, release, who),
        as_json=as_json,
        actor=actor,
        scope=Scope.OPERATE if release is not None else None,
    )


@cli.command(epilog='Example: sidecar freeze --reason "migration running"')
def freeze(
    rule: Annotated[str | None, typer.Argument(help="A rule; everything when none.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; shown wherever a repair is refused.")] = "",
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJSON = False,
    actor: Actor = None,
) -> None:
    """Stop all writing, at once and until lifted."""
    from sidecar.verbs import repairing

    runner.perform(
        config,
        lambda app, who: repairing.freeze(app, rule, reason, who),
        as_json=as_json,
        actor=actor,
        scope=Scope.OPERATE,
    )


@cli.command(epilog="Example: sidecar unfreeze credits_without_profile")
def unfreeze(
    rule: Annotated[str | None, typer.Argument(help="A rule; the general freeze when none.")] = None,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJSON = False,
    actor: Actor = None,
) -> None:
    """Lift a freeze of exactly that scope."""
    from sidecar.verbs import repairing

    runner.perform(
        config, lambda app, who: repairing.unfreeze(app, rule, who), as_json=as_json, actor=actor, scope=Scope.OPERATE
    )


@cli.command(epilog="Example: sidecar runs 20260101T120000-1a2b3c4d")
def runs(
    run_id: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run; the latest ones when none.")] = None,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJSON = False,
) -> None:
    """List the latest runs, or tell one with what became of each row."""
    from sidecar.verbs import looking

    runner.perform(config, lambda app, _: looking.runs(app, run_id), as_json=as_json)


@cli.command(epilog="Example: sidecar explain 22cb3917-57f6-49c6-ac96-ec266570081b")
def explain(user_id: str, config: ConfigPath = DEFAULT_CONFIG, as_json: AsJSON = False) -> None:
    """Tell everything that is known about one user, each piece with its origin."""
    from sidecar.verbs.explaining import explain as tell

    runner.perform(config, lambda app, _: tell(app, user_id), as_json=as_json)


@audit.command("verify", epilog="Example: sidecar audit verify --anchors /var/log/sidecar.log")
def audit_verify(
    anchor: Annotated[
        list[str] | None,
        typer.Option("--anchor", metavar="SEQ:HASH", help="A head that was kept elsewhere; repeatable."),
    ] = None,
    anchors: Annotated[
        Path | None, typer.Option("--anchors", metavar="FILE", help="Sidecar's JSON log: the heads it kept.")
    ] = None,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJSON = False,
) -> None:
    """Verify that the audit is what was written: no row edited, taken out, put in, swapped or cut off."""
    from sidecar.verbs import auditing

    runner.perform(config, lambda app, _: auditing.verify(app, auditing.gather(anchor or [], anchors)), as_json=as_json)


@cli.command(epilog="Example: sidecar schema --fixture | psql -1 -v ON_ERROR_STOP=1 $DATABASE_URL")
def schema(
    fixture: Annotated[bool, typer.Option("--fixture", help="Print the SQL of fixture and roles instead.")] = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Print the JSON Schema of the configuration, or the SQL of the optional fixture and of Sidecar's roles."""
    runner.leave(runner.schema(config, fixture=fixture))


@cli.command(epilog="Example: sidecar demo --once --json --users 2000 --orphans 37 --seed 7 --fault no_bypass")
def demo(
    users: Annotated[int, typer.Option(help="Live auth users.", min=1)] = 2000,
    orphans: Annotated[int, typer.Option(help="Repairable ones among them, beside user 22cb….", min=0)] = 37,
    seed: Annotated[int, typer.Option(help="What the data is drawn from.")] = 7,
    data: Annotated[Path | None, typer.Option("--data", help="Keep the data here (default: temporary).")] = None,
    fault: Annotated[list[str] | None, typer.Option("--fault", help="Break something; repeatable.")] = None,
    list_faults: Annotated[bool, typer.Option("--list-faults", help="List the faults and end.")] = False,
    guards: Annotated[
        str, typer.Option("--guards", help="demo: caps sized to --orphans; shipped: as shipped.")
    ] = "demo",
    direct: Annotated[bool, typer.Option("--direct", help="Let Sidecar use PostgreSQL itself beside REST.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Check, detect, repair and verify once, and end.")] = False,
    as_json: AsJSON = False,
    stack_only: Annotated[bool, typer.Option("--stack-only", help="PostgreSQL and Supabase stand-in alone.")] = False,
    sql: Annotated[Path | None, typer.Option("--sql", help="With --stack-only: load this file as superuser.")] = None,
) -> None:
    """Start the embedded stack with the incident's damaged rows in it, and run Sidecar on it."""
    from sidecar.verbs import demo as demonstrate

    options = demonstrate.Options(
        users=users,
        orphans=orphans,
        seed=seed,
        data=data,
        faults=tuple(fault or ()),
        shipped_guards=demonstrate.guards(guards),
        direct=direct,
    )
    if list_faults:
        runner.leave(demonstrate.list_faults())
    if stack_only:
        runner.leave(demonstrate.serve_stack(options, sql))
    if once:
        runner.leave(demonstrate.run_once(options, as_json=as_json))
    from sidecar.daemon import serve

    runner.leave(demonstrate.run_daemon(options, serve))


def main() -> None:
    """Run the command line; usage errors exit 2, as configuration errors do."""
    sys.exit(cli())
