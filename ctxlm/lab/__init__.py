"""What experiments run on: points, launchers, results, verdicts, reports."""

SCALES = ('smoke', 'small', 'large')  # of an experiment
