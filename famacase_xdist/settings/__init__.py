"""Settings: one table of them, their sources, their parsers, and the variables of CI systems."""
