"""The command line: thin. Each verb calls one function of `sidecar.verbs`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sidecar.app import App
from sidecar.config.settings import Scope
from sidecar.domain.plan import PlanStatus
from sidecar.verbs import completing, runner
from sidecar.verbs.command import DEFAULT_CONFIG, AsJSON, ConfigPath, verb
from sidecar.verbs.result import Result

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

RuleName = Annotated[str, typer.Argument(metavar="RULE", autocompletion=completing.rules)]
SomeRule = Annotated[str | None, typer.Argument(metavar="[RULE]", autocompletion=completing.rules)]
PlanName = Annotated[
    str,
    typer.Argument(metavar="PLAN", help="A plan's id, or the path of its file.", autocompletion=completing.plans),
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's id.", autocompletion=completing.runs)]
Reason = Annotated[str, typer.Option("--reason", help="Why; shown wherever it holds something up.")]
Listed = Annotated[bool, typer.Option("--list", help="Show what is frozen, paused or aborted, and change nothing.")]


@cli.command(epilog="Example: sidecar run --config /etc/sidecar/sidecar.yaml")
def run(config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Run the daemon: checks and rules on their schedules, metrics and status page over HTTP."""
    from sidecar.daemon import run_daemon

    runner.leave(run_daemon(config))


@verb(cli, "check backend-health")
async def check(
    app: App,
    _who: str,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Checks, whatever they depend on; all, parents first, when none.",
            autocompletion=completing.checks,
        ),
    ] = None,
    trace: Annotated[
        bool, typer.Option("--trace", "-v", help="Tell what happened in each look, as for one NAME alone.")
    ] = False,
) -> Result:
    """Look once, now, and say what was seen. One NAME alone is told step by step."""
    from sidecar.verbs import looking

    return await looking.check(app, names or [], trace=trace)


@cli.command(epilog="Example: sidecar validate --config sidecar.yaml")
def validate(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJSON = False) -> None:
    """Read configuration and rules, and list every problem with file, line and column."""
    runner.leave(runner.validate(config, as_json=as_json))


@verb(cli, "detect credits_without_profile", scope=lambda given: Scope.OPERATE if given["accept_change"] else None)
async def detect(
    app: App,
    who: str,
    rules: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RULE]...", help="Rules; all when none.", autocompletion=completing.rules),
    ] = None,
    accept_change: Annotated[
        bool, typer.Option("--accept-change", help="Believe a count that shrank: you know why.")
    ] = False,
) -> Result:
    """Look at the data with a proven read, and count the damage. Writes nothing."""
    from sidecar.verbs import looking

    return await looking.detect(app, rules or [], accept_change=who if accept_change else None)


@verb(cli, "plan credits_without_profile --out plan.json", scope=Scope.PLAN)
async def plan(
    app: App,
    who: str,
    rule: RuleName,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the plan to this file (mode 0600).")] = None,
) -> Result:
    """Make a plan that waits for a person: explicit rows, each value with its origin."""
    from sidecar.verbs import repairing

    return await repairing.plan(app, rule, who, out)


@verb(cli, "show plan.json")
async def show(app: App, _who: str, plan: PlanName) -> Result:
    """Show what a plan would do."""
    from sidecar.verbs import showing, undoing

    if undoing.is_undo(plan):
        return await undoing.show(app, plan)
    return await showing.show(app, plan)


@verb(cli, "approve 20260101T120000-1a2b3c4d --as anna", scope=Scope.APPROVE)
async def approve(app: App, who: str, plan: PlanName) -> Result:
    """Approve a waiting plan. Its author's token cannot."""
    from sidecar.verbs import repairing, undoing

    if undoing.is_undo(plan):
        return await undoing.judge(app, plan, who, PlanStatus.APPROVED)
    return await repairing.judge(app, plan, who, PlanStatus.APPROVED)


@verb(cli, "reject 20260101T120000-1a2b3c4d", scope=Scope.APPROVE)
async def reject(app: App, who: str, plan: PlanName) -> Result:
    """Reject a waiting plan."""
    from sidecar.verbs import repairing, undoing

    if undoing.is_undo(plan):
        return await undoing.judge(app, plan, who, PlanStatus.REJECTED)
    return await repairing.judge(app, plan, who, PlanStatus.REJECTED)


@verb(cli, "apply 20260101T120000-1a2b3c4d", scope=Scope.OPERATE)
async def apply(app: App, who: str, plan: PlanName) -> Result:
    """Apply an approved plan under every guard of this moment, and verify it from the source."""
    from sidecar.verbs import repairing, undoing

    if undoing.is_undo(plan):
        return await undoing.apply(app, plan, who)
    return await repairing.apply(app, plan, who)


@verb(cli, "backfill credits_without_profile --dry-run", scope=lambda g: None if g["dry_run"] else Scope.OPERATE)
async def backfill(
    app: App,
    who: str,
    rule: RuleName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide, show, and write nothing.")] = False,
) -> Result:
    """Look, plan, apply and verify now. Typing it is the approval; every guard still holds."""
    from sidecar.verbs import repairing

    return await (repairing.rehearse(app, rule) if dry_run else repairing.backfill(app, rule, who))


@verb(cli, 'pause 20260101T120000-1a2b3c4d --reason "support asks to wait"', scope=Scope.OPERATE)
async def pause(app: App, who: str, run: RunName, reason: Reason = "") -> Result:
    """Let no further batch of a run begin, in whichever process it runs, until it is resumed."""
    from sidecar.verbs import steering

    return await steering.pause(app, run, reason, who)


@verb(cli, "resume 20260101T120000-1a2b3c4d", scope=Scope.OPERATE)
async def resume(app: App, who: str, run: RunName) -> Result:
    """Let a paused run go on, at the next look of its rule."""
    from sidecar.verbs import steering

    return await steering.resume(app, run, who)


@verb(cli, 'abort 20260101T120000-1a2b3c4d --reason "wrong plan"', scope=Scope.OPERATE)
async def abort(
    app: App,
    who: str,
    run: RunName,
    reason: Reason = "",
    unread: Annotated[
        bool, typer.Option("--unread", help="Do not read rows in flight back: they end as undetermined.")
    ] = False,
) -> Result:
    """End a run: no further batch begins, rows in flight are accounted for, unwritten ones are free again."""
    from sidecar.verbs import steering

    return await steering.abort(app, run, reason, who, unread=unread)


@verb(cli, "undo 20260101T120000-1a2b3c4d --dry-run", scope=lambda g: None if g["dry_run"] else Scope.OPERATE)
async def undo(
    app: App,
    who: str,
    run: RunName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would go and what would stay.")] = False,
) -> Result:
    """Take back what a run inserted, as far as nobody changed it or built on it. Needs database.url."""
    from sidecar.verbs import undoing

    return await undoing.undo(app, run, who, dry_run=dry_run)


@verb(cli, 'attest 22cb3917-57f6-49c6-ac96-ec266570081b --credits 1200 --reason "invoice 4711"', scope=Scope.PLAN)
async def attest(
    app: App,
    who: str,
    user_id: str,
    credits_: Annotated[str, typer.Option("--credits", metavar="N", help="The balance you vouch for.")],
    reason: Annotated[str, typer.Option("--reason", help="Where the number comes from; audited.")],
    rule: Annotated[str | None, typer.Option("--rule", help="Whose table is meant, if there are several.")] = None,
) -> Result:
    """Record a balance that a person vouches for. It ranks above snapshot and ledger."""
    from sidecar.verbs import repairing

    return await repairing.attest(app, user_id, credits_, reason, rule, who)


@verb(cli, "quarantine credits_without_profile", scope=lambda g: None if g["release"] is None else Scope.OPERATE)
async def quarantine(
    app: App,
    who: str,
    rule: SomeRule = None,
    release: Annotated[int | None, typer.Option("--release", metavar="ID", help="Let this row go.")] = None,
) -> Result:
    """List the rows that are held back, each with its reason and for how long, or release one."""
    from sidecar.verbs import looking

    return await looking.quarantine(app, rule, release, who)


@verb(cli, 'freeze --reason "migration running"', scope=lambda g: None if g["listed"] else Scope.OPERATE)
async def freeze(app: App, who: str, rule: SomeRule = None, reason: Reason = "", listed: Listed = False) -> Result:
    """Stop all writing of a rule, of everything where none is named, at once and until lifted."""
    from sidecar.verbs import steering

    return await (steering.freezes(app) if listed else steering.freeze(app, rule, reason, who))


@verb(cli, "unfreeze credits_without_profile", scope=lambda g: None if g["listed"] else Scope.OPERATE)
async def unfreeze(app: App, who: str, rule: SomeRule = None, listed: Listed = False) -> Result:
    """Lift a freeze of exactly that scope: of the rule, or the general one where none is named."""
    from sidecar.verbs import steering

    return await (steering.freezes(app) if listed else steering.unfreeze(app, rule, who))


@verb(cli, "runs 20260101T120000-1a2b3c4d --follow")
async def runs(
    app: App,
    _who: str,
    run_id: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="A run; the latest ones when none.", autocompletion=completing.runs),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Tell each change of the run until it ends.")] = False,
) -> Result:
    """List the latest runs, or tell where one stands, why it does not move, and what became of its rows."""
    from sidecar.verbs import standing

    return await standing.runs(app, run_id, follow=follow)


@verb(cli, "explain 22cb3917-57f6-49c6-ac96-ec266570081b")
async def explain(app: App, _who: str, user_id: str) -> Result:
    """Tell everything that is known about one user, each piece with its origin."""
    from sidecar.verbs.explaining import explain as tell

    return await tell(app, user_id)


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
