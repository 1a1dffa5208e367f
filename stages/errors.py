"""Errors that a person can act on."""


class UserError(Exception):
    """What a person has to change: one line that names the parameter or file, the value, and what is allowed."""
