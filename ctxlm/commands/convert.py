"""Read and write others' checkpoints.

A Hugging Face or sentence-transformers folder, or a GGUF file of LLaMA's
family (pip install 'ctxlm[gguf]'), becomes a model folder, which every command
that needs no data takes and `config.init_from` starts from; a run folder or a
model folder becomes what transformers and sentence-transformers load. An n-gram
model comes from an ARPA file, and goes into one; the file has no tokenizer, so
that what comes from it takes words as spaces part them. Adapters of PEFT come
with their model; LoRA goes out merged, or alone as PEFT has it, without labels.

  ctxlm convert --from bert-base-uncased --to models/bert
  ctxlm convert --from SmolLM2-135M-Instruct.Q4_1.gguf --to-hf smollm2
  ctxlm convert --from runs/mine --to-hf mine-hf
  ctxlm convert --from runs/ngram --to ngram.arpa
  ctxlm convert --from runs/mine --step=best --to-hf mine-hf
  ctxlm convert --from runs/lora --to-peft mine-lora
  ctxlm convert --from mine-lora --base bert-base-uncased --to models/mine
"""

import collections
import re
import sys

from ctxlm.commands import flags
from ctxlm.errors import UserError


def add_flags(parser):
  """Declares the flags of `ctxlm convert`."""
  parser.add(
    'what is read',
    '--from',
    dest='from_',
    metavar='DIR',
    needed=True,
    help='a folder of any kind, or the name of one on the hub that was '
    'downloaded; or a GGUF file, or an ARPA file',
  )
  flags.add_step(parser)
  parser.add(
    'what is read',
    '--base',
    metavar='DIR',
    default='',
    help="of PEFT's adapters, the model's folder, if the hub's of the name "
    'that they have was not downloaded',
  )
  use = 'what is written'
  parser.add(
    use, '--to', metavar='DIR', help='a model folder; or an ARPA file, X.arpa'
  )
  parser.add(
    use,
    '--to-hf',
    metavar='DIR',
    help='a Hugging Face folder; adapters are merged into the model',
  )
  parser.add(
    use,
    '--to-peft',
    metavar='DIR',
    help="LoRA alone, as PEFT's adapter_config.json and its tensors",
  )
  parser.add(
    use,
    '--merge',
    action='store_true',
    help='adapters are merged into the model of --to, too',
  )


def main(F):
  """Entry point of `ctxlm convert`."""
  from ctxlm.inference import conversion
  from ctxlm.parallel import processes

  if not (F.to or F.to_hf or F.to_peft):
    raise UserError(
      '--to DIR, --to-hf DIR or --to-peft DIR is needed: the folder to write'
    )
  processes.start()
  count, left_out = conversion.convert(
    F.from_, F.to, F.to_hf, F.step, F.merge, F.to_peft, F.base
  )
  parts = collections.Counter(
    re.match('(heads/)?[^/]+', name)[0] for name in left_out
  )
  for name, tensors in parts.items():
    print(
      f'left out: {name} ({tensors} tensors) has no place there',
      file=sys.stderr,
    )
  for folder in filter(None, (F.to, F.to_hf, F.to_peft)):
    print(f'{folder}: {count:,} parameters')
