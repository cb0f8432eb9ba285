"""The one exception whose message is meant for the person at the keyboard."""


class BadInput(Exception):
    """Something given to speechml is wrong: the message is one sentence naming what, why, and what would be right.

    The commands print it without a traceback and exit with code 2.
    """
