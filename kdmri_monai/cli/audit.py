"""Command that judges a bundle before it is run: audit."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from kdmri_monai.cli.application import app, console

if TYPE_CHECKING:
    from kdmri_monai.sharing.audit import AuditReport

CANNOT_BE_READ = 2
COLOURS = {"danger": "red", "warning": "yellow", "remark": "cyan", "ok": "green"}
SHOWN = {"danger": 40, "warning": 20, "remark": 20, "ok": 0}
"""Rows of each level that are shown; --all shows every one."""


@app.command()
def audit(
    bundle: Annotated[Path, typer.Argument(help="Zip archive or unpacked folder, from anyone.")],
    as_json: Annotated[bool, typer.Option("--json", help="Write the report as JSON, format kdmri-audit-1.")] = False,
    key: Annotated[
        Path | None, typer.Option(help="Public Ed25519 key of the maker; the signature must be its.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show harmless findings too.")] = False,
) -> None:
    """Judge a bundle without running it. Exit status 0: safe; 1: not safe; 2: cannot be read."""
    from kdmri_monai.sharing.audit import audit as judge

    try:
        report = judge(bundle, key)
    except (ValueError, OSError) as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(CANNOT_BE_READ) from error
    if as_json:
        json.dump(report.as_dict(), sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        _show(report, everything)
    raise typer.Exit(0 if report.safe else 1)


def _show(report: "AuditReport", everything: bool) -> None:
    table = Table(title=escape(report.bundle), show_lines=False)
    for heading in ("", "About", "Where", "What", "Why"):
        table.add_column(heading, overflow="fold")
    left_out = 0
    for level, colour in COLOURS.items():
        found = report.of(level)
        rows = found if everything else found[: SHOWN[level]]
        left_out += len(found) - len(rows)
        for one in rows:
            where = one.file if not one.id else f"{one.file} {one.id}"
            table.add_row(
                f"[{colour}]{level}[/]",
                one.group,
                escape(where),
                escape(one.text),
                escape(_why(one.verdict, one.reason)),
            )
    console.print(table)
    if left_out:
        console.print(f"{left_out:,} more, most of them harmless; --all shows them", highlight=False)
    if report.safe:
        console.print("[green]safe to run[/]: nothing was found that runs code of its maker", highlight=False)
    elif report.running:
        count = report.running
        places = f"{count:,} place{'s' * (count > 1)}"
        console.print(f"[red]NOT safe[/]: it can run code of its maker in {places}", highlight=False)
    else:
        console.print("[red]NOT safe[/]: it is not what its manifest or signature says", highlight=False)


def _why(verdict: str, reason: str) -> str:
    return f"{verdict}: {reason}" if verdict and reason else verdict or reason
