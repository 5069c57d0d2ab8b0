"""The process that runs tests: from a pytest item to a result, and into a sink. No network, no disk, no token."""
