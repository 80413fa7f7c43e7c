r"""Answer for texts: by a model's head, or by what the model writes.

Of lines, one JSON object for each, with its "answer": the label and each one's
probability, the score, the tags, the choice, or where a context has the answer
to a question; of a model that writes the text, such as a translation, a summary
or a reply. A line is a text, or two with a tab between, such as a question and
its context, or a text and its choices, or a dialogue's turns; records of json,
jsonl, csv, tsv and Parquet have the fields that it was trained on, such as
'text', 'text_a' and 'text_b', 'choices', 'question' and 'context', 'prompt',
'turns' or 'messages'.
With --output a file is written on all devices, and the same command again goes
on where it was stopped.

  ctxlm predict --model runs/sst2 --text "a film to remember"
  ctxlm predict --model runs/sst2 --input reviews.jsonl --output answers.jsonl
  echo "a film to remember" | ctxlm predict --model runs/sst2
  ctxlm predict --model runs/multi30k --input en.txt --output de.jsonl \
    --strategy beam:num_beams=4
  printf 'Who came?\tAnn came.\n' | ctxlm predict --model runs/squad
"""

from ctxlm.commands import decoding_flags, flags
from ctxlm.errors import UserError


def add_flags(parser):
  """Declares the flags of `ctxlm predict`."""
  flags.add_model(parser)
  flags.add_text(parser, 'a text, whose answer is printed')
  parser.add(
    'what is written',
    '--output',
    metavar='FILE.jsonl',
    help='left out, standard output',
  )
  flags.add_rows(parser, 'as it was trained')
  decoding_flags.add(parser, 'greedy, or sample where a filter is given')


def main(F):
  """Entry point of `ctxlm predict`."""
  from ctxlm.inference import lines, predict
  from ctxlm.parallel import processes

  lines.check_one(F)
  if F.output is not None and F.input is None:
    raise UserError('--output FILE.jsonl needs --input FILE')
  processes.start()
  config = decoding_flags.config_of(F) if decoding_flags.said(F) else None
  predictor = predict.open_predictor(
    F.model, F.step, F.max_length, F.batch_size, config
  )
  if F.output is not None:
    predict.write_all(predictor, F.input, F.output, F.batch_size)
    return
  if F.text is not None:
    lines.write(predict.answers(predictor, [F.text])[0])
    return
  for record, answer in predict.each(predictor, F.input):
    lines.write(record | {'answer': answer})
