"""How the next tokens are chosen; a module with a `Strategy` is a plug-in."""
