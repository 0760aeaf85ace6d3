"""The one exception for what a user can mend."""

from __future__ import annotations


class UserError(Exception):
    """Something outside the code is wrong: says what must hold, what was found, where, and what to do.

    The command line prints the message without a traceback and exits with status 2.
    """
