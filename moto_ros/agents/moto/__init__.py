"""MOTO: offline pre-training to online fine-tuning with a latent world model (arXiv 2401.03306)."""
