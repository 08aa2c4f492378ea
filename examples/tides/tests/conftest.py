"""The fixtures of flowdapt: an engine, what happened on it, a server."""

pytest_plugins = ["flowdapt_testing.fixtures"]
