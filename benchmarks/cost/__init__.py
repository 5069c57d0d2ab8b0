"""What reporting costs: ours, pytest's own and others', measured in pairs. The command is in `__main__`."""
