"""The one way in which a score is not there."""


class Undefined(Exception):
    """This network has no such score; says why."""
