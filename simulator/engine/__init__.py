"""The clock: plays a program and leaves a trace."""
