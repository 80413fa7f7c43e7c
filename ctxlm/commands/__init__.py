"""The verbs of the command line, one a file: flags in, one call, words out."""
