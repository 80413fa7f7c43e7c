"""What experiments run on: points, launchers, early stopping, results, reports."""
