"""What several agents are built from: networks, encoders, losses, optimiser. Pure PyTorch."""
