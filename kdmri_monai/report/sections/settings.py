"""Settings, environment, seeds, revisions and commands, by which every run can be made again."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from kdmri_monai.report.material import Material
from kdmri_monai.report.page_model import Cell, Column, Details, Section, Table


def section(material: Material) -> Section:
    """One table of settings by arm, one row a run for the rest."""
    return Section(
        "settings", "Settings and environment", "", (_settings(material), _runs(material), _commands(material))
    )


def _settings(material: Material) -> Table:
    settings = {one.name: one.runs[0].settings for one in material.members}
    names = sorted({name for one in settings.values() for name in one} - {"seed"})
    columns = (Column("Setting"), *(Column(name) for name in settings))
    rows = tuple(
        (Cell(name, mark="strong"), *(Cell(_words(one.get(name))) for one in settings.values())) for name in names
    )
    return Table("settings", "Settings", "First run of every arm.", columns, rows)


def _runs(material: Material) -> Table:
    columns = (Column("Run"), Column("Seed", True), Column("Started"), Column("Revision"), Column("Environment"))
    rows = []
    for run in (run for one in material.members for run in one.runs):
        environment = run.record.get("environment", {})
        packages = ", ".join(f"{name} {version}" for name, version in sorted(environment.get("packages", {}).items()))
        device = device_words(run.record)
        words = f"Python {environment.get('python', '?')}; {packages}; {device}" if environment else "not recorded"
        revision = str(run.record.get("git_revision") or "not recorded")
        cells = Cell(run.path.name, mark="strong"), Cell(_words(run.seed), sort=run.seed)
        rows.append((*cells, Cell(str(run.record.get("started", ""))), Cell(revision), Cell(words)))
    return Table("environment", "Runs", "", columns, tuple(rows))


def device_words(record: Mapping[str, Any]) -> str:
    """What a run was trained on: the GPU or the CPU's threads, and how many processes where there were several."""
    environment, processes = record.get("environment", {}), record.get("processes") or {}
    device = environment.get("cuda_device") or f"CPU, {environment.get('threads', '?')} threads"
    number = processes.get("world_size", 1)
    return f"{device}, {number} processes by {processes.get('backend', '?')}" if number > 1 else str(device)


def _commands(material: Material) -> Details:
    rows = tuple(
        (Cell(run.path.name, mark="strong"), Cell(shlex.join(map(str, run.record["command"]))))
        for one in material.members
        for run in one.runs
        if isinstance(run.record.get("command"), list)
    )
    table = Table("commands", "Commands", "", (Column("Run"), Column("Command")), rows)
    return Details("Commands", (table,))


def _words(value: object) -> str:
    if value is None:
        return "none"
    return (
        f"{value:,}"
        if isinstance(value, int) and not isinstance(value, bool)
        else (value if isinstance(value, str) else json.dumps(value))
    )
