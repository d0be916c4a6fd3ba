"""The command line: one file per command family; a command's imports happen when it is chosen."""
