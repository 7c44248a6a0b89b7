"""Pure functions from tensors to a scalar; every norm is a mean over elements."""
