from ctxlm.experiments.benchmarks import nearest


def test_the_search_is_timed_beside_torchs(capsys):
  """Whose distances are the same, or it fails."""
  rows = nearest.main(['--smoke', '--k', '5'])
  assert [row['queries'] for row in rows] == [1, 8]
  assert all(row['ours'] > 0 and row['torch'] > 0 for row in rows)
  printed = capsys.readouterr().out
  assert '40 bytes a key of 16' in printed and '14.4 GiB' in printed
