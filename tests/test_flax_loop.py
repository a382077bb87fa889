"""The README's ten lines run, learn, and are ten."""

import pathlib
import runpy

PATH = pathlib.Path(__file__).parents[1] / 'docs/snippets/flax_loop.py'


def test_ten_lines_train_a_network():
  found = runpy.run_path(str(PATH))
  assert found['error'] < 0.6 * (found['y'] ** 2).mean()
  stats = found['state']['batch_stats']['layers_1']
  assert abs(stats['mean']).max() > 0.01 and (stats['var'] != 1).all()


def test_they_are_ten():
  text = PATH.read_text().partition('# [begin]\n')[2].partition('# [end]')[0]
  assert len([line for line in text.splitlines() if line.strip()]) == 10
