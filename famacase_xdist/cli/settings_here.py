"""The settings for a command that is started in this directory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

from famacase_xdist.settings.settings import Settings
from famacase_xdist.settings.sources import Directory, Sources


def settings_here(state_dir: Path | None = None) -> Settings:
    """Return the settings of the environment and of this directory's files.

    Args:
        state_dir: Wins over the setting of the same name, unless it is None.

    Raises:
        SettingsError: A value is not allowed.
    """
    settings = Sources(Directory(Path.cwd()), SimpleNamespace()).settings()
    return settings if state_dir is None else dataclasses.replace(settings, state_dir=state_dir)
