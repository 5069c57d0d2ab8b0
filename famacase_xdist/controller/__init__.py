"""The process that owns the run: pytest's and xdist's hooks, the ledger, and what the terminal says."""
