"""Numbers as tables, pictures and files."""
