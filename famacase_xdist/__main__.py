"""``python -m famacase_xdist``."""

from .cli.main import main

if __name__ == "__main__":
    main(prog_name="famacase-xdist")
