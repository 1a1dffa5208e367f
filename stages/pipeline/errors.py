"""Errors that a person can act on."""


class UserError(Exception):
    """Something that a person has to change: one line names the parameter or file, its value, and what is allowed."""
