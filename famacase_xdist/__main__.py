"""``python -m famacase_xdist``."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="famacase-xdist")
