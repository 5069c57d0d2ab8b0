pytest_plugins = ["harness.plugin"]
# A suite for the tests, not one of them.
collect_ignore = ["upstream_examples"]
