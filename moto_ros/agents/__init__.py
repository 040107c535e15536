"""Agents: learning algorithms, one folder each, behind the interface in `interface.py`. Pure PyTorch."""
