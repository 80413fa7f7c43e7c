"""What a loaded model does, whoever trained it."""
