"""FOWM: Finetuning Offline World Models in the Real World (CoRL 2023)."""
