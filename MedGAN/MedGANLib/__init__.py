"""What the MedGAN modules of 3D Slicer share."""
