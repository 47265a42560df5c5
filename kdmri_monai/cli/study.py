"""Command that runs a study: study."""

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdmri_monai.cli.application import app, console, told_to_the_user

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdmri_monai.study.config import Study
    from kdmri_monai.study.plan import Job
    from kdmri_monai.study.runner import Outcome

Several = typer.Option(help="Of those of the file; all by default. Repeat it for several.")


@app.command()
def study(
    config: Annotated[Path, typer.Argument(help="The study: configs/NAME.json.")],
    data: Annotated[Path, typer.Option(help="Dataset folder of kdmri prepare; its fold does not matter.")],
    out: Annotated[Path, typer.Option(help="Folder for the runs; what is finished there is not done again.")],
    jobs: Annotated[int, typer.Option(min=1, help="Runs side by side.")] = 1,
    arms: Annotated[list[str] | None, Several] = None,
    folds: Annotated[list[int] | None, Several] = None,
    seeds: Annotated[list[int] | None, Several] = None,
    bundle: Annotated[Path, typer.Option(help="Folder of the bundle.")] = Path("bundles/kd"),
    results: Annotated[
        Path | None, typer.Option(help="Folder for page, numbers and figures, made from the files of the runs.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is there and what is left, and start nothing.")
    ] = False,
) -> None:
    """Train, evaluate and compare arms over folds and seeds; resumes, repeats nothing, reports what has failed."""
    with told_to_the_user():
        from kdmri_monai.study.alone import alone_in
        from kdmri_monai.study.config import read_study
        from kdmri_monai.study.runner import StudyRunner

        configs = bundle.resolve() / "configs"
        chosen = _chosen(read_study(config, configs), arms, folds, seeds)
        planned = _planned(chosen, configs, data.resolve(), out.resolve())
        if dry_run:
            _tell_plan(planned)
            return
        with alone_in(out), _progress(planned) as told:
            runner = StudyRunner(planned, out.resolve() / "logs", jobs, configs / "evaluate.json", told)
            outcomes = list(runner.run().values())
        failed = [outcome for outcome in outcomes if not outcome.done]
        _record(chosen, outcomes, out)
    _tell_failures(failed)
    with told_to_the_user():
        _compare(outcomes, out)
        if results is not None:
            _write_results(out, results)
    if failed:
        raise typer.Exit(1)


def _chosen(study: "Study", arms: "list[str] | None", folds: "list[int] | None", seeds: "list[int] | None") -> "Study":
    from kdmri_monai.study.config import StudyError

    for name, wanted, there in (
        ("arms", arms, study.arms),
        ("folds", folds, study.folds),
        ("seeds", seeds, study.seeds),
    ):
        unknown = [str(value) for value in wanted or [] if value not in there]
        if unknown:
            raise StudyError(f"{study.path} has no {name} {', '.join(unknown)}; it has {', '.join(map(str, there))}")
    kept = {name: arm for name, arm in study.arms.items() if not arms or name in arms}
    reference = study.reference if study.reference in kept else next(iter(kept))
    chosen_folds = tuple(fold for fold in study.folds if not folds or fold in folds)
    chosen_seeds = tuple(seed for seed in study.seeds if not seeds or seed in seeds)
    return replace(study, arms=kept, folds=chosen_folds, seeds=chosen_seeds, reference=reference)


def _planned(study: "Study", configs: Path, data: Path, out: Path) -> "list[Job]":
    from kdmri_monai.data.crossfit import crossfit_datalists
    from kdmri_monai.data.fold_datalists import fold_datalists
    from kdmri_monai.study.config import StudyError
    from kdmri_monai.study.plan import plan

    lists = dict(enumerate(fold_datalists(data / "datalist.json")))
    unknown = [str(fold) for fold in study.folds if fold not in lists]
    if unknown:
        raise StudyError(f"{study.path}: folds has {', '.join(unknown)}, {data} has the folds 0 .. {len(lists) - 1}")
    members = max((teacher.crossfit for teacher in study.teachers.values()), default=0)
    parts = {fold: crossfit_datalists(lists[fold], members) for fold in study.folds} if members else {}
    return plan(study, configs, lists, parts, out)


def _tell_plan(planned: "Sequence[Job]") -> None:
    from rich.table import Table

    from kdmri_monai.study.state import state_of

    table = Table("run", "state", "epochs", "learns from")
    for job in planned:
        state = state_of(job)
        table.add_row(
            job.name, state.stage.value, f"{state.epochs} of {job.epochs or '?'}", ", ".join(job.needs) or "-"
        )
    console.print(table)


@contextmanager
def _progress(planned: "Sequence[Job]") -> "Iterator[Any]":
    """A bar of the runs that are finished, and a line for each that starts, ends or fails."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("runs", total=len(planned))
        started: set[str] = set()

        def told(event: str, outcome: "Outcome") -> None:
            started.add(outcome.job.name)
            words = f"{event} {outcome.job.name}"
            if event == "failed":
                words = f"[red]{words}[/red]: {outcome.failure}"
            elif event == "finished":
                words += f", {outcome.seconds / 60:.1f} min"
            progress.print(words, highlight=False, soft_wrap=True)
            progress.update(task, advance=event != "started")

        yield told
        progress.update(task, completed=len(planned))


def _record(study: "Study", outcomes: "Sequence[Outcome]", out: Path) -> None:
    from kdmri_monai.data.atomic import write_atomically

    record = {
        "study": json.loads(study.path.read_text(encoding="utf-8")),
        "folds": study.folds,
        "seeds": study.seeds,
        "arms": list(study.arms),
        "runs": {
            outcome.job.name: {
                "stage": outcome.state.stage.value,
                "epochs": outcome.state.epochs,
                "failure": outcome.failure,
            }
            for outcome in outcomes
        },
    }
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "study.json", (json.dumps(record, indent=1) + "\n").encode())


def _tell_failures(failed: "Sequence[Outcome]") -> None:
    for outcome in failed:
        where = f" (log: {outcome.log})" if outcome.log is not None else ""
        typer.secho(f"not finished: {outcome.job.name}: {outcome.failure}{where}", fg=typer.colors.RED, err=True)


def _write_results(out: Path, results: Path) -> None:
    from kdmri_monai.study.results_write import write_results

    for path in write_results(out, results):
        typer.echo(str(path))


def _compare(outcomes: "Sequence[Outcome]", out: Path) -> None:
    """The table of all arms whose runs are complete, and of the teachers."""
    from kdmri_monai.evaluation.comparison_files import write_comparison_csv, write_comparison_json
    from kdmri_monai.report.tables import comparison_table
    from kdmri_monai.study.results_collect import compare_arms
    from kdmri_monai.study.results_record import read_record

    record = read_record(out)
    if not record.complete:
        typer.secho("no arm is complete: there is nothing to compare", fg=typer.colors.RED, err=True)
        return
    comparison = compare_arms(record)
    write_comparison_json(comparison, out / "comparison.json")
    write_comparison_csv(comparison, out / "comparison.csv")
    console.print(comparison_table(comparison))
    lacking = sorted({outcome.job.arm for outcome in outcomes if outcome.job.arm} - set(record.complete))
    if lacking:
        typer.secho(f"left out, not complete: {', '.join(lacking)}", fg=typer.colors.YELLOW, err=True)
    typer.echo(f"{out / 'comparison.json'}, {out / 'comparison.csv'}; next: kdmri report {out}/fold*/*_*")
