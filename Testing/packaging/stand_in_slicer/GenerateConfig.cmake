# Slicer's own writes MedGANConfig.cmake into the build tree, for extensions that build upon this one. None does.
