"""Integrations of other plugins and libraries: one file for each of them."""
