"""What is read of images: contracting paths, the frozen networks of perceptual terms, patterns that tell sharpness."""
