"""Networks, encoders, losses and optimiser that several agents share. Pure PyTorch."""
