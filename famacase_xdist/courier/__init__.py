"""The process that talks to Famacase: the end of its parent, which runs the tests, and its own."""
