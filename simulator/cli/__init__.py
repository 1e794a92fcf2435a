"""The command line: arguments to calls, no logic of its own."""
