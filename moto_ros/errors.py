"""The one exception a user is meant to read."""


class MotoError(Exception):
    """A problem the user can mend.

    The message is one sentence that names the file, topic or parameter, says what was found,
    what was expected and what to do. Nodes and commands print it without a traceback and exit 1.
    """
