"""MedGAN: generative adversarial networks for medical images, without a graphical interface.

Research use only; no medical device. The layers, from the ground up, are listed in ``docs/architecture.md``.
"""

__version__ = "0.1.0"
