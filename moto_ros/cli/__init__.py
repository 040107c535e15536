"""The `moto` command, one file per sub-command, which is imported only when that sub-command runs."""
