"""The command ``famacase-xdist serve``."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from famacase_xdist.errors import FamacaseError
from famacase_xdist.server.embedded import NO_SERVER_EXTRA, new_token, prepare_database_directory
from famacase_xdist.server.records import NO_PROJECT_CODE, PROJECT_CODE
from famacase_xdist.state.directory import EMBEDDED_DATABASE

if TYPE_CHECKING:
    import socket

_DEFAULT_PROJECT = "DEMO"


def _checked_codes(_: click.Context, __: click.Parameter, codes: tuple[str, ...]) -> tuple[str, ...]:
    for code in codes:
        if not PROJECT_CODE.fullmatch(code):
            raise click.BadParameter(NO_PROJECT_CODE.format(code=code))
    return codes


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8484, show_default=True, help="0: a free one.")
@click.option(
    "--database",
    type=click.Path(dir_okay=False, path_type=Path),
    default=EMBEDDED_DATABASE,
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
    # Here, not above: without the extra the import fails, and `serve` makes one line of that.
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
                server.shutdown()


def _end_on_signals() -> None:
    # Needed for SIGINT too: a shell that starts this process in the background has SIGINT ignored.
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
