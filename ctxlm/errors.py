"""The one exception that means: the user can fix this."""


class UserError(Exception):
  """A mistake in a config, a flag or a file. The message is one line.

  The command line prints the message without a traceback and exits with 2.
  """
