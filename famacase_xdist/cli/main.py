"""The command ``famacase-xdist``."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from famacase_xdist import __version__
from famacase_xdist.errors import FamacaseError
from famacase_xdist.server.embedded import NO_SERVER_EXTRA, new_token, prepare_database_directory
from famacase_xdist.server.records import PROJECT_CODE

from . import run

if TYPE_CHECKING:
    import socket

DEFAULT_DATABASE = Path(".famacase/famacase.sqlite3")
_DEFAULT_PROJECT = "DEMO"


@click.group()
@click.version_option(__version__, prog_name="famacase-xdist")
def main() -> None:
    """Report pytest results to Famacase."""


def _checked_codes(_: click.Context, __: click.Parameter, codes: tuple[str, ...]) -> tuple[str, ...]:
    for code in codes:
        if not PROJECT_CODE.fullmatch(code):
            raise click.BadParameter(f"{code!r} is no project code (letters, digits, - and _, 32 at most)")
    return codes


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8484, show_default=True, help="0: a free one.")
@click.option(
    "--database",
    type=click.Path(dir_okay=False, path_type=Path),
    default=DEFAULT_DATABASE,
    show_default=True,
    help="SQLite file; made if it is not there.",
)
@click.option("--token", envvar="FAMACASE_SERVER_TOKEN", show_envvar=True, help="Default: a random one.")
@click.option(
    "--project",
    "projects",
    multiple=True,
    metavar="CODE",
    callback=_checked_codes,
    help="The only projects there are; may be given several times. Default: any.",
)
def serve(host: str, port: int, database: Path, token: str | None, projects: tuple[str, ...]) -> None:
    """Run a server with the reporter API and pages that show the runs."""
    try:
        _serve(host, port, database, token or new_token(), projects)
    except ImportError as error:
        raise click.ClickException(NO_SERVER_EXTRA.format(missing=error.name)) from error
    except FamacaseError as error:
        raise click.ClickException(str(error)) from error


def _serve(host: str, port: int, database: Path, token: str, projects: tuple[str, ...]) -> None:
    # Here, not above: the other commands must work without the extra.
    from famacase_xdist.server import app, http, store

    with http.listen(host, port) as listener:
        prepare_database_directory(database)
        with store.Store(database) as opened:
            loopback = http.is_loopback(listener)
            application = app.create_app(opened, token=token, loopback=loopback, projects=projects or None)
            server = http.ServerThread(application, listener)
            url = http.url_of(listener)
            _end_on_signals()
            try:
                server.start()
                _warn(listener, loopback)
                _announce(url, database, token, (projects or (_DEFAULT_PROJECT,))[0])
                server.join()
            except KeyboardInterrupt:
                click.echo("Stopped.")
            finally:
                server.stop()


def _end_on_signals() -> None:
    # Also where the shell that started us in the background made SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def _announce(url: str, database: Path, token: str, project: str) -> None:
    variables = {
        "FAMACASE_MODE": "testops",
        "FAMACASE_API_URL": url,
        "FAMACASE_TESTOPS_API_TOKEN": token,
        "FAMACASE_TESTOPS_PROJECT": project,
    }
    click.echo(f"Famacase server: {url}\nDatabase: {database.absolute()}\n\nTo report to it:")
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")
    click.echo("\nCtrl-C stops it.")


def _warn(listener: socket.socket, loopback: bool) -> None:
    if loopback:
        return
    address = listener.getsockname()[0]
    click.echo(
        f"Warning: it listens on {address}, so other machines can reach it, without encryption. "
        "Pages ask for a password: it is the token.",
        err=True,
    )


@main.command()
@click.option("--list", "only_list", is_flag=True, help="Only say what there is.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
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
    from . import resend

    try:
        settings = resend.settings_here(state_dir)
        is_clean = resend.show(settings) if only_list or dry_run else resend.send_all(settings)
    except FamacaseError as error:
        raise click.ClickException(str(error)) from error
    raise SystemExit(0 if is_clean else 1)


@main.command("doctor")
@click.option("--format", "form", type=click.Choice(["plain", "json"]), default="plain", show_default=True)
def examine(form: str) -> None:
    """Say whether reporting would work in this directory, and what is in its way.

    Reads what pytest would read here, less its command line. Exits with 1 if reporting would not work.
    """
    from . import doctor

    report = doctor.examine()
    click.echo(report.formatted(form))
    raise SystemExit(0 if report.is_ok else 1)


main.add_command(run.run)


if __name__ == "__main__":
    main()
