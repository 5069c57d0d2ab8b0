"""What was asked for: one table of settings, their sources, their parsers, and what CI systems say."""
