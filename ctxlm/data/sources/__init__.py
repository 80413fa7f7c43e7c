"""Where examples come from. A module here with a `Source` is a plug-in."""
