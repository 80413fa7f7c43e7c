"""The benchmark for a GPU runs here, at small sizes."""

import json

import pytest

from ctxlm.experiments.benchmarks import gpu, train_step


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
  name = 'GPT-2 124M, 16 x 1,024'
  argv = ['--smoke', f'--out={tmp_path}', '--batches', '1', '--cases', name]
  found = gpu.main(argv)
  assert json.loads((tmp_path / 'results.json').read_text()) == found
  (row,), (written,) = found['rows'], found['decode']
  ms = row['milliseconds']
  assert set(ms) == {'ctxlm auto', 'ctxlm xla', 'torch eager'}
  ours = min(ms['ctxlm auto'], ms['ctxlm xla'])
  assert row['ratio'] == pytest.approx(ms['torch eager'] / ours)
  assert f'{row["ratio"]:.2f}' in capsys.readouterr().out
  assert written['batch_size'] == 1 and written['ratio'] > 0


def test_flops_and_utilisation_are_of_the_whole_model():
  shape = gpu.BASE | {'num_layers': 2}
  case = train_step.Case('causal', 16, 1024, 50304, **shape)
  work, tokens = gpu.model_flops(case), 16 * 1024
  m, layers, length = 768, 2, 1024
  kernels = layers * 12 * m * m + 50304 * m
  # Of a causal row of four blocks 5/8 are computed.
  attention = 3 * 2 * 2 * layers * m * length * 5 / 8
  assert work == pytest.approx(tokens * (6 * kernels + attention), rel=0.01)
  times = {'ctxlm auto': [10.0, 20.0, 90.0], 'torch eager': [40.0]}
  row = gpu.row_of('x', case, times, {}, 989e12)
  assert row['mfu']['ctxlm auto'] == pytest.approx(work / 0.02 / 989e12)
  assert row['ratio'] == 2


def test_without_a_gpu_it_says_so(tmp_path, capsys):
  with pytest.raises(SystemExit):
    gpu.main([f'--out={tmp_path}/new'])
  assert 'JAX sees no GPU' in capsys.readouterr().err
  assert not (tmp_path / 'new').exists()
