"""What learns: one folder an algorithm, behind the interface in `interface.py`. Pure PyTorch."""
