"""The one kind of error that a user can put right."""


class MedGANError(ValueError):
    """Something that the user can put right: what was found, what was expected, what to do. Exit code 2."""
