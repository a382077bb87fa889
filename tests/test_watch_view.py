"""What `experiments.watch` draws, on terminals of any width."""

import io

import pytest
from rich.console import Console
from test_watch import study

from bn_jax import live
from bn_jax.live import view


@pytest.mark.parametrize('columns', [80, 120])
def test_nothing_is_cut_off_on_a_narrow_terminal(
  tmp_path, monkeypatch, columns
):
  """Faults: bars at any width; headings that shrink like bars."""
  monkeypatch.setenv('COLUMNS', str(columns))
  picture = live.Watcher(study(tmp_path, curve=(0.1, 1.0))).look()
  named = {'none': 'none', 'batch_norm': 'activation_penalty'}
  parts = [p._replace(strategy=named[p.strategy]) for p in picture.parts]
  console = Console(file=io.StringIO(), width=columns)
  console.print(view.draw(picture._replace(parts=parts)))
  shown = console.file.getvalue()
  assert '…' not in shown
  assert ('━━━ 100%' in shown) == (columns > 80)
  for word in ('tuning', 'reported', 'rates', 'failed', 'activation_penalty'):
    assert word in shown
