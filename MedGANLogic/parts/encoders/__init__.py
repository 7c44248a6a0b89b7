"""Networks that turn images into latent codes."""
