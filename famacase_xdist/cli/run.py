"""The commands ``famacase-xdist run create``, ``run show`` and ``run complete``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from famacase_xdist.errors import FamacaseError
from famacase_xdist.settings.run_reference import RunId, reference_of
from famacase_xdist.settings.settings import Settings

from .settings_here import settings_here

# `project_runs` is imported in functions, because it imports requests, and --help must not wait for that.
if TYPE_CHECKING:
    from .project_runs import ProjectRuns


@click.group()
def run() -> None:
    """Create, show and complete a run that several jobs report to.

    For jobs that share no disk: one creates the run, the others join it by FAMACASE_TESTOPS_RUN_ID, and a last one
    completes it. Reads FAMACASE_TESTOPS_API_TOKEN and the other settings from the environment and from
    famacase.config.json and qase.config.json in this directory.
    """


@run.command()
@click.option("--title", default="", help="Default: FAMACASE_TESTOPS_RUN_TITLE, or branch and commit of the CI job.")
@click.option("--description", default="", help="Default: FAMACASE_TESTOPS_RUN_DESCRIPTION.")
@click.option("--tag", "tags", multiple=True, help="May be given several times. Default: FAMACASE_TESTOPS_RUN_TAGS.")
@click.option("--plan", type=click.IntRange(min=1), metavar="ID", help="Test plan of the run.")
@click.option("--environment", default="", metavar="SLUG", help="Default: FAMACASE_ENVIRONMENT.")
@click.option("--format", "form", type=click.Choice(["plain", "env", "json"]), default="plain", show_default=True)
def create(title: str, description: str, tags: tuple[str, ...], plan: int | None, environment: str, form: str) -> None:
    """Create a run and print the value of FAMACASE_TESTOPS_RUN_ID that joins it, and nothing else."""
    from . import project_runs

    with _connected() as (settings, project):
        request = project_runs.request(
            settings, title=title, description=description, tags=tags, plan=plan, environment=environment
        )
        created = project.create(request)
    click.echo(f"run {created.reference}: {created.url}", err=True)
    click.echo(created.formatted(form))


def _named(_: click.Context, __: click.Parameter, text: str) -> RunId:
    """Return the server's id of the run that an argument names."""
    from . import project_runs

    try:
        return project_runs.run_id(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@run.command()
@click.argument("run_id", metavar="ID", callback=_named)
@click.option("--format", "form", type=click.Choice(["plain", "json"]), default="plain", show_default=True)
def show(run_id: RunId, form: str) -> None:
    """Print what the server says about a run."""
    with _connected() as (_, project):
        shown = project.show(run_id, form)
    click.echo(shown)


@run.command()
@click.argument("run_id", metavar="ID", callback=_named)
def complete(run_id: RunId) -> None:
    """Complete a run; it may be complete already."""
    with _connected() as (_, project):
        url = project.complete(run_id)
    click.echo(f"run {reference_of(run_id)} is complete: {url}")


@contextmanager
def _connected() -> Iterator[tuple[Settings, ProjectRuns]]:
    """Yield the settings of this directory and the runs of their project; errors become one line for people."""
    from . import project_runs

    try:
        settings = settings_here()
        with project_runs.connected(settings) as project:
            yield settings, project
    except FamacaseError as error:
        raise click.ClickException(str(error)) from error
