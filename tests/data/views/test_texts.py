"""Raw records."""

import pytest

from ctxlm.data.views import texts
from ctxlm.errors import UserError


def test_texts(number_documents):
  view = texts.View.open(number_documents, 'x', None, 8, None)
  assert len(view) == 10 and view.read(3, None) is number_documents[3]
  with pytest.raises(UserError, match='no records'):
    texts.View.open([], 'x', None, 8, None)
