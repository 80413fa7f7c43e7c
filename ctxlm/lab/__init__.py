"""What experiments run on: points, launchers, results, verdicts, reports."""
