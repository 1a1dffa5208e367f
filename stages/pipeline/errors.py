"""Errors that a person can act on."""


class UserError(Exception):
    """Something that a person has to change: one line names the parameter or file, its value, and what is allowed."""


class StoreError(BaseException):
    """An object store that does not answer: one line names the address and what went wrong.

    No ``Exception``: whoever takes every error of a decoder for a broken file must not leave out files for this one.
    """
