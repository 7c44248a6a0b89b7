"""How scanners degrade what they see: the physics that networks are trained against."""
