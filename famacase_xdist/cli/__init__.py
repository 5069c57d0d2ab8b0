"""The command ``famacase-xdist``: one file for each subcommand."""
