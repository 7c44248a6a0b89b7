"""Prediction: prepare an image, run a bundle's passes over it in windows that fit the memory, restore its grid."""
