"""Networks that turn images into images; outputs lie in [-1, 1]."""
