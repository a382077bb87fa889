"""What the pages tell people to type works from first line to last."""

import os
import re
import runpy
import shutil
import subprocess
import sys

import jax
import pages
import pytest
import synthetic
import tiny_sets

SMALL = (
  '--config.num_train_steps=4',
  '--config.log.every=2',
  '--config.log.eval_every=4',
  '--config.batch_size=16',
  '--config.data.limit=300',
)
# What makes a command small where it is run.
TINY = {
  'experiments.train': SMALL,
  'experiments.compare': ('--trials=1', '--seeds=2', *SMALL),
  'experiments.claims': ('--only=linear_chain', '--quick'),
  'experiments.conformance': ('--case=mask', '--peers=bn_jax,flax_linen'),
  'experiments.benchmark': ('--help',),  # they take their time
  'experiments.watch': ('--once',),
}
READERS = ('experiments.watch',)  # of a finished study
# Of several processes or devices; tests/test_hosts.py runs them.
SPREAD = ('--coordinator', '--num-processes', '--process-id', '--config.mesh')
# Sets that are not here are made, as small as they can be.
SETS = {
  'mnist': (28, 28, 1),
  'fashion_mnist': (28, 28, 1),
  'cifar10': (32, 32, 3),
}


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
  """The folder of the sets that the pages' commands name."""
  folder = tmp_path_factory.mktemp('sets')
  for name, shape in SETS.items():
    tiny_sets.tiny(folder, name, shape=lambda i, shape=shape: shape)
  return folder


@pytest.fixture
def tree(tmp_path, sets):
  """A copy of the tree, and how a command runs in it."""
  for name in ('bn_jax', 'configs', 'docs', 'experiments', 'tests'):
    shutil.copytree(pages.ROOT / name, tmp_path / name)
  for name in ('README.md', 'Makefile', 'pyproject.toml', 'mkdocs.yml'):
    shutil.copy(pages.ROOT / name, tmp_path / name)
  environment = {
    **os.environ,
    'TFDS_DATA_DIR': str(sets),
    'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
  }

  def run(*words):
    done = subprocess.run(
      [sys.executable, *words],
      cwd=tmp_path,
      env=environment,
      capture_output=True,
      text=True,
      timeout=900,
    )
    assert done.returncode == 0, f'{words}: {done.stdout}{done.stderr}'
    return done.stdout

  run.folder, run.sets = tmp_path, sets
  return run


def small(words, tree):
  """A command that ends soon; the last of two same flags counts."""
  if words[:1] != ['-m'] or words[1] not in TINY or '--reproduce' in words:
    return words
  words = [tree.sets if w == 'DIR' else w for w in words]
  words = [str(w).replace('=DIR', f'={tree.sets}') for w in words]
  words = [w for w in words if not w.startswith(SPREAD)]
  return [*words, *(w for w in TINY[words[1]] if not varied(w, words, tree))]


def varied(override, words, tree):
  """Whether the study of a command varies the field that this overrides."""
  files = [w.removeprefix('--config=') for w in words if w.endswith('.py')]
  sweeps = [runpy.run_path(tree.folder / f).get('sweep') for f in files]
  field = override.partition('=')[0].removeprefix('--config.')
  return any(field in sweep().grid for sweep in sweeps if sweep)


def follow(tree, name):
  """Does what a page says, from its first block to its last."""
  for block in pages.blocks(name):
    if block.title:
      target = tree.folder / block.title
      target.parent.mkdir(parents=True, exist_ok=True)
      target.write_text(block.text)
  outputs = []
  for program, *words in pages.commands(name):
    if words[1:] and words[1].startswith(('docs.snippets.', *READERS)):
      shutil.rmtree(tree.folder / words[2], ignore_errors=True)
      # They need more than a tiny study has.
      synthetic.write_whole_study(tree.folder / words[2])
    if '--reproduce' in words:
      config = f'--config={pages.ROOT}/configs/mnist1d_mlp.py'
      given = ['-m', 'experiments.compare', config, '--workdir=DIR']
      tree(*given, '--strategies=none,lsuv', *TINY['experiments.compare'])
    if program == 'python':
      outputs.append(tree(*small(words, tree)))
  return outputs


@pytest.mark.slow
@pytest.mark.parametrize('name', pages.HOW_TO)
def test_a_how_to_can_be_followed_to_its_end(name, tree):
  outputs = follow(tree, name)
  assert outputs
  if name == 'add_a_strategy.md':
    assert re.search(r'^my_norm ', outputs[0], re.M), 'no row in the table'
    assert 'my_norm' in (tree.folder / 'runs/my_norm/report.html').read_text()
  for text in pages.python(name):
    tree('-c', text)


@pytest.mark.slow
@pytest.mark.parametrize(
  'name', [n for n in pages.WITH_COMMANDS if n not in pages.HOW_TO]
)
def test_the_commands_of_a_page_run(name, tree):
  follow(tree, name)
