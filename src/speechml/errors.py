"""The one exception whose message is meant for the person at the keyboard."""


class UserError(Exception):
    """Something given to speechml is wrong: the message is one sentence naming what, why, and what would be right.

    The commands print it without a traceback and exit with code 2.
    """


class Busy(UserError):
    """Another process has what is wanted; it may be free later."""


class UnusableData(UserError):
    """The data cannot be used, whatever is done with them."""


class NoSuchScore(UserError):
    """What a search is to go by is no score of its runs: no trial of it can have a value."""
