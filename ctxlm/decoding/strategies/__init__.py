"""How the next tokens are chosen. A module here with a `Strategy` is a plug-in."""
