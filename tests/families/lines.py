"""Lines of text that tokenizers differ on, made from a seed."""

import numpy as np

PIECES = (
  'naïve café crème brûlée Ångström œuvre Straße İstanbul ﬁancé',
  'e\u0301te\u0301 n\u0303 A\u030a '
  '\u200bzero\u200bwidth \xa0nbsp soft\xadhyphen',
  '我喜欢学习语言模型。 東京都 漢字カタカナひらがな 한국어 문장',
  'Привет, мир! Γειά σου Κόσμε שלום مرحبا नमस्ते ภาษาไทย',
  '😀 👩\u200d👩\u200d👧\u200d👦 🇫🇷 👍🏽 ☃️ ❤️ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ½ ① ﷺ',
  'def f(x, *, y=None):\n    return {"a": [x**2, y]}  # comment',
  'for(int i=0;i<n;++i){a[i]^=~b[i];}',
  '<s>not special</s> [CLS] <|endoftext|> <extra_id_0> ##ing',
  '\ttab\t\ttabs  two   three    spaces\r\ncarriage \x0b\x0c',
  "It's don't we'll I'M they'RE 'quoted' “curly” ‘single’ — dash…",
  '3.14159 1,000,000 1e-12 0xDEADBEEF 2024-02-30 $5.00 50% #tag @user',
  'https://example.org/a/b?c=d&e=%20f user.name+tag@mail.example.co.uk',
  'The quick brown fox jumps over the lazy dog.',
  'Hello world hello WORLD HeLLo',
)


def make(count=1000, seed=0, plain=False):
  """Returns `count` lines; plain ones are of few characters, none special."""
  rng = np.random.default_rng(seed)
  pieces = [p for p in PIECES if not plain or '[CLS]' not in p]
  words = [w for p in pieces for w in p.split(' ')]
  lines = list(pieces)
  while len(lines) < count:
    chosen = [words[i] for i in rng.integers(len(words), size=rng.integers(12))]
    kind = rng.integers(4, 6) if plain else rng.integers(6)
    if kind == 0:
      letters = rng.integers(97, 123, rng.integers(80, 400))
      chosen.append(''.join(map(chr, letters)))  # a very long word
    elif kind == 1:
      chosen.append(''.join(map(chr, rng.integers(33, 0x2FF, 20))))
    elif kind == 2:
      chosen.append(''.join(map(chr, rng.integers(0x4E00, 0x9FA5, 9))))
    elif kind == 3:
      chosen.append(''.join(map(chr, rng.integers(0x1F300, 0x1F9FF, 5))))
    lines.append(str(rng.choice([' ', '  ', '\t', ''])).join(chosen))
  return lines[:count]
