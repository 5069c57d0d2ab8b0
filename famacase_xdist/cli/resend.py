"""The command ``famacase-xdist resend``, which prints a line for each outbox and shows a progress bar."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from famacase_xdist.delivery.resend import Leftover, Resent, leftovers, patience_of, send
from famacase_xdist.delivery.wording import completion
from famacase_xdist.errors import FamacaseError
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.directory import StateDirectory

from .settings_here import settings_here


@click.command()
@click.option("--list", "only_list", is_flag=True, help="Only show what there is to send.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the outboxes. Default: FAMACASE_STATE_DIR, or the user's own.",
)
def resend(only_list: bool, dry_run: bool, state_dir: Path | None) -> None:
    """Deliver the results that earlier sessions could not.

    Reads FAMACASE_TESTOPS_API_TOKEN and the other settings from the environment and from famacase.config.json and
    qase.config.json in this directory. Exits with 1 if anything is left.
    """
    try:
        settings = settings_here(state_dir)
        is_clean = _show(settings) if only_list or dry_run else _send_all(settings)
    except FamacaseError as error:
        raise click.ClickException(str(error)) from error
    raise SystemExit(0 if is_clean else 1)


def _show(settings: Settings) -> bool:
    """Print what the outboxes hold, and return whether they hold nothing."""
    console = _console()
    found = leftovers(settings)
    for leftover in found:
        console.print(_described(leftover))
    if not found:
        console.print(f"nothing to send in {StateDirectory.of(settings).outboxes}")
    return not found


def _send_all(settings: Settings) -> bool:
    """Send what the outboxes hold, and return whether nothing is left."""
    console = _console()
    found = leftovers(settings, patience_of(settings))
    if not found:
        console.print(f"nothing to send in {StateDirectory.of(settings).outboxes}")
    is_clean = True
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        for leftover in found:
            task = progress.add_task(leftover.name, total=leftover.results)
            resent = send(leftover, settings, partial(_advance, progress, task))
            progress.remove_task(task)
            console.print(_outcome(resent))
            is_clean &= not resent.problem and not resent.left
    return is_clean


def _advance(progress: Progress, task: TaskID, sent: int, total: int) -> None:
    progress.update(task, completed=sent, total=total)


def _console() -> Console:
    # No markup, because a project's code or a server's words may look like markup. soft_wrap, because scripts read the
    # lines too.
    return Console(markup=False, highlight=False, soft_wrap=True)


def _described(leftover: Leftover) -> str:
    if leftover.problem:
        return f"{leftover.name}: left alone: {leftover.problem}"
    run = "a run still to be created" if leftover.run_id is None else f"run {leftover.run_id}"
    return f"{leftover.name}: {leftover.results} results for {run}, project {leftover.project}, {leftover.host}"


def _outcome(resent: Resent) -> str:
    if resent.is_gone:
        return f"{resent.leftover.name}: another process has delivered it"
    parts = [f"{resent.leftover.name}: delivered {resent.delivered}, left {resent.left}"]
    if resent.run_url:
        parts.append(f"{resent.run_url} ({completion(resent.completed, resent.why_open)})")
    if resent.problem:
        parts.append(f"problem: {resent.problem}")
    return "; ".join(parts)
