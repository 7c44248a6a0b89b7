"""The games: which tensors exist in one step. A handful carries all systems."""
