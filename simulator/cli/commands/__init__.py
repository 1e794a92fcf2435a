"""The commands: their options, and the call that does the work."""
