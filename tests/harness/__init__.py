"""What the tests share: a real server with faults to inject, and suites that run in real pytest processes."""
