"""What ``famacase-xdist resend`` shows: a line for each outbox, and a progress bar."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from famacase_xdist.delivery import resend
from famacase_xdist.delivery.wording import completion
from famacase_xdist.settings.settings import Settings
from famacase_xdist.settings.sources import Directory, Sources
from famacase_xdist.state.directory import StateDirectory


def settings_here(state_dir: Path | None) -> Settings:
    """Read the settings of the environment and of this directory's files.

    Raises:
        SettingsError: A value is not allowed.
    """
    settings = Sources(Directory(Path.cwd()), SimpleNamespace()).settings()
    return settings if state_dir is None else dataclasses.replace(settings, state_dir=state_dir)


def show(settings: Settings) -> bool:
    """Print what there is; True if that is nothing."""
    console = _console()
    found = resend.leftovers(settings)
    for leftover in found:
        console.print(_described(leftover))
    if not found:
        console.print(f"nothing to send in {StateDirectory.of(settings).outboxes}")
    return not found


def send_all(settings: Settings) -> bool:
    """Send all that there is; True if nothing is left."""
    console = _console()
    found = resend.leftovers(settings, resend.patience_of(settings))
    if not found:
        console.print(f"nothing to send in {StateDirectory.of(settings).outboxes}")
    is_clean = True
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        for leftover in found:
            task = progress.add_task(leftover.name, total=leftover.results)
            resent = resend.send(leftover, settings, partial(_advance, progress, task))
            progress.remove_task(task)
            console.print(_outcome(resent))
            is_clean &= not resent.problem and not resent.left
    return is_clean


def _advance(progress: Progress, task: TaskID, sent: int, total: int) -> None:
    progress.update(task, completed=sent, total=total)


def _console() -> Console:
    # No markup: a project's code or a server's words may look like it. soft_wrap: lines are for scripts too.
    return Console(markup=False, highlight=False, soft_wrap=True)


def _described(leftover: resend.Leftover) -> str:
    if leftover.problem:
        return f"{leftover.name}: left alone: {leftover.problem}"
    run = "a run still to be created" if leftover.run_id is None else f"run {leftover.run_id}"
    return f"{leftover.name}: {leftover.results} results for {run}, project {leftover.project}, {leftover.host}"


def _outcome(resent: resend.Resent) -> str:
    parts = [f"{resent.leftover.name}: delivered {resent.delivered}, left {resent.left}"]
    if resent.run_url:
        parts.append(f"{resent.run_url} ({completion(resent.completed, resent.why_open)})")
    if resent.problem:
        parts.append(f"problem: {resent.problem}")
    return "; ".join(parts)
