"""The notebooks: top to bottom on a small study, pairs, outputs.

Planted and seen: a cell that raises, a pair of which one half was edited, an
output with this machine's path, a notebook without outputs, a folder that is
not there.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import jax
import jupytext
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parent.parent
FOLDER = ROOT / 'notebooks'
NAMES = sorted(p.stem for p in FOLDER.glob('*.ipynb'))
# A study as `experiments.compare` makes it, without its page.
STUDY = """
import sys
from bn_jax import config, devices, study

def get_config(names):
  made = config.default(names)
  made.update_from_flattened_dict({
    'num_train_steps': 40, 'log.every': 10, 'log.eval_every': 20,
    'model.depth': 2, 'model.width': 4, 'data.limit': 200,
  })
  return made

devices.set_up()
settings = config.study()
settings.strategies = ('none', 'renormalize')
settings.trials, settings.seeds, settings.timing_rounds = 2, 2, 0
made = study.Study(get_config, settings, sys.argv[1])
made.claim('a test')
made.run()
"""


def run(*words, **environment):
  cache = {'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir}
  done = subprocess.run(
    [sys.executable, *map(str, words)],
    cwd=ROOT,
    env={**os.environ, **cache, **environment},
    capture_output=True,
    text=True,
    timeout=900,
  )
  return done.returncode, done.stdout, done.stderr


def read(name):
  return nbformat.read(FOLDER / f'{name}.ipynb', as_version=4)


@pytest.fixture(scope='module')
def workdirs(tmp_path_factory):
  """Where the notebooks look: a study, claims, and room to write."""
  folder = tmp_path_factory.mktemp('notebooks')
  claims = ('-m', 'experiments.claims', '--quick', '--workdir')
  only = '--only=backprop_through_statistics'
  for words in (
    ('-c', STUDY, folder / 'compare'),
    (*claims, folder / 'claims', only),
  ):
    code, _, err = run(*words)
    assert code == 0, err
  return {
    'BN_JAX_STUDY': str(folder / 'compare'),
    'BN_JAX_CLAIMS': str(folder / 'claims'),
    'BN_JAX_SCRATCH': str(folder / 'scratch'),
  }


def test_there_are_four():
  assert NAMES == [
    'add_a_strategy',
    'claims',
    'compare_strategies',
    'inside_a_unit',
  ]


def test_they_run_top_to_bottom(workdirs):
  nbmake = ('-m', 'pytest', '--nbmake', '--nbmake-timeout=600')
  alone = ('-p', 'no:cacheprovider', '-p', 'no:xdist')
  paths = [FOLDER / f'{name}.ipynb' for name in NAMES]
  code, out, _ = run(*nbmake, *alone, *paths, **workdirs)
  assert code == 0, out
  assert f'{len(NAMES)} passed' in out


@pytest.mark.parametrize('name', NAMES)
def test_pairs_agree(name):
  def cells(notebook):
    return [(c.cell_type, c.source.strip()) for c in notebook.cells]

  assert cells(jupytext.read(FOLDER / f'{name}.py')) == cells(read(name))


@pytest.mark.parametrize('name', NAMES)
def test_outputs_are_committed_and_small_and_of_no_machine(name):
  path = FOLDER / f'{name}.ipynb'
  assert path.stat().st_size < 1_000_000
  cells = [c for c in read(name).cells if c.cell_type == 'code']
  assert all(c.execution_count for c in cells)
  outputs = [o for c in cells for o in c.outputs]
  assert any('image/png' in o.get('data', {}) for o in outputs)
  assert not [o for o in outputs if o.output_type == 'error']
  said = [o for o in outputs if o.get('name') == 'stderr']
  assert not said, said
  for output in outputs:
    words = dict(output.get('data', {}))
    words.pop('image/png', None)
    text = json.dumps([words, output.get('text', '')])
    found = re.search(r'/(home|tmp|root|work|Users|usr|opt|var)/', text)
    assert not found, text


@pytest.mark.parametrize('name', NAMES)
def test_a_missing_folder_is_one_line(name, tmp_path):
  nowhere = dict.fromkeys(
    ('BN_JAX_STUDY', 'BN_JAX_CLAIMS'), str(tmp_path / 'x')
  )
  code, out, err = run(FOLDER / f'{name}.py', **nowhere)
  assert (code, out) == (1, '')
  assert 'is not there: ' in err and err.count('\n') == 1
