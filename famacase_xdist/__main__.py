"""``python -m famacase_xdist``."""

from famacase_xdist.cli import main

if __name__ == "__main__":
    main(prog_name="famacase-xdist")
