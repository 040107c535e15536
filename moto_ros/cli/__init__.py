"""The `moto` command, one file a sub-command. Each is imported when the command starts, and does its work in `run`."""
