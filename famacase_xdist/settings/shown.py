"""Settings in messages: what is set, what has no effect, what may be misspelled; and the command that resends."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterator, Mapping

from .projects import Projects
from .settings import BY_NAME, SETTINGS, Settings
from .table import Setting

#: How similar to a setting the name of a misspelled variable is at least; 1 means equal.
LIKENESS = 0.75


def effective(settings: Settings) -> dict[str, tuple[str, str]]:
    """Return, by name, the text and the source of each setting that is set; tokens are masked."""
    return {
        name: ("***" if BY_NAME[name].secret else _text(getattr(settings, name)), source)
        for name, source in settings.sources.items()
    }


def idle_line(settings: Settings) -> str:
    """Return a line that names the settings that are set and have no effect; empty if there are none."""
    each = [settings, *settings.of_each_project().values()]
    found = (one.sources.get(row.name, row.name) for one in each for row in SETTINGS if _is_idle(row, one))
    idle = list(dict.fromkeys(found))
    so = "they have no effect" if len(idle) > 1 else "it has no effect"
    return f"Famacase has no call for {', '.join(idle)}: {so}" if idle else ""


def misspelled(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each variable that is not ours, but so similar to one of ours that it may be meant for us."""
    names = [row.name.upper() for row in SETTINGS]
    for variable in sorted(environ):
        name = variable.removeprefix("FAMACASE_")
        # The variable of the token that `famacase-xdist serve` reads is similar to one of these.
        if name == variable or name in names or name == "SERVER_TOKEN":
            continue
        if close := difflib.get_close_matches(name, names, n=1, cutoff=LIKENESS):
            yield f"{variable} is not a setting; did you mean FAMACASE_{close[0]}?"


def resend_command(settings: Settings) -> str:
    """Return the command that delivers the results in the state directory."""
    option = f" --state-dir {shlex.quote(str(settings.state_dir))}" if settings.state_dir else ""
    return f"famacase-xdist resend{option}"


def _is_idle(row: Setting, settings: Settings) -> bool:
    return row.is_idle and bool(getattr(settings, row.name))


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ("/" if value and isinstance(value[0], int) else ", ").join(map(str, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={each}" for key, each in value.items())
    if isinstance(value, Projects):
        return ", ".join(own["testops_project"] for own in value.settings)
    return str(value)
