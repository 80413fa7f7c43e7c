"""List the recipes and experiments that are at hand by name.

Of a name or a path, its file and what it says of itself: the command, the time
it takes and what comes of it.

  ctxlm recipes
  ctxlm recipes quickstart_mlm
  ctxlm recipes induction
  ctxlm recipes tasks/sst2
  ctxlm recipes mylab/mine.py
"""

from ctxlm import recipes


def add_flags(parser):
  """Declares the flags of `ctxlm recipes`."""
  parser.add_paths(
    'NAME', 'whose text is shown; left out, all are listed', recipes.ours
  )


def main(F):
  """Entry point of `ctxlm recipes`."""
  known, tasks = recipes.ours(), recipes.ours(recipes.TASK)
  if F.paths:
    for name in F.paths:
      path = tasks.get(name) or recipes.find(name)
      print(f'{path.resolve()}\n\n{recipes.docstring(path)}\n')
    return
  width = max(map(len, known | tasks)) + 2
  for folder, usage, listed in (
    (
      'configs',
      'recipes: ctxlm train --config NAME[:ARGUMENT] --workdir DIR',
      known,
    ),
    ('configs', 'tasks: ctxlm evaluate --model DIR --few_shot NAME', tasks),
    ('experiments', 'experiments: ctxlm sweep NAME --workdir DIR', known),
  ):
    print(usage)
    for name, path in listed.items():
      if path.is_relative_to(recipes.HOME / folder):
        print(f'  {name:<{width}}{recipes.docstring(path).splitlines()[0]}')
