"""Networks that are read for their features: contracting paths, and the frozen ones of perceptual terms."""
