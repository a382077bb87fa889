"""The site builds, and what the pages tell people to type works.

These tests parse each command and build its configs; test_docs_followed.py runs
them.

Planted and seen: a link to no page, a font from another host, a page in no
navigation, a misspelt flag, a field that no config has, a target that the
Makefile lacks, a strategy whose site sows nothing readable, a Python block with
a wrong name, a plot without a picture, a docstring that does not parse.
"""

import argparse
import importlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import matplotlib
import numpy as np
import pages
import pytest
import synthetic
import tiny

from bn_jax import models, plots, progress, strategies
from bn_jax.config import default

ROOT = pages.ROOT
PEERS = ('haiku', 'equinox', 'keras', 'torch')
WITH_PYTHON = [n for n in pages.NAMES if pages.python(n)]


class CheckedError(Exception):
  """A command has parsed its flags and built its configs."""


def checked(*args, **kwargs):
  raise CheckedError


@pytest.fixture
def house(tmp_path, monkeypatch):
  """A folder with the configs, and what the pages tell to save in it."""
  shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
  monkeypatch.chdir(tmp_path)
  for package in (strategies, models):
    folder = tmp_path / 'bn_jax' / package.__name__.rpartition('.')[2]
    # First, since a reader may have saved a file of that name already.
    monkeypatch.setattr(package, '__path__', [str(folder), *package.__path__])
  # What tests of his file share is not made of the page's, nor this of his.
  monkeypatch.setattr(tiny, '_run', tiny._run.__wrapped__)

  def save(name):
    for path, text in pages.files(name).items():
      target = tmp_path / path
      target.parent.mkdir(parents=True, exist_ok=True)
      target.write_text(text)
      module = '.'.join(pathlib.Path(path).with_suffix('').parts)
      monkeypatch.setitem(sys.modules, module, None)  # put back at the end
      del sys.modules[module]
    return tmp_path

  return save


@pytest.fixture
def followed(tmp_path_factory, monkeypatch):
  """A reader has saved a strategy of the page's name and made it his own."""
  folder = tmp_path_factory.mktemp('own')
  (folder / 'my_norm.py').write_text('def my_norm():\n  return 1 / 0\n')
  monkeypatch.setattr(
    strategies, '__path__', [str(folder), *strategies.__path__]
  )
  monkeypatch.setitem(sys.modules, 'bn_jax.strategies.my_norm', None)
  del sys.modules['bn_jax.strategies.my_norm']
  importlib.import_module('bn_jax.strategies.my_norm')
  return tiny._run.cache_info


@pytest.fixture(scope='module')
def site(tmp_path_factory):
  folder = tmp_path_factory.mktemp('site')
  done = subprocess.run(
    [sys.executable, '-m', 'mkdocs', 'build', '--strict', '-d', folder],
    cwd=ROOT,
    env={**os.environ, 'NO_MKDOCS_2_WARNING': '1'},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return folder


def test_the_site_has_every_page_and_every_strategy(site):
  for name in pages.NAMES[1:]:
    assert (site / name.replace('.md', '.html')).is_file()
  found = (site / 'strategies.html').read_text()
  for name in strategies.names():
    assert f'<h2 id="{name}">' in found
    assert f'bn_jax/strategies/{name}.py' in found, 'without its source'
  for part in (p.stem for p in (ROOT / 'bn_jax').glob('[!_]*')):
    page = (site / 'api' / f'{part}.html').read_text()
    assert f'id="bn_jax.{part}"' in page


def test_the_site_asks_no_other_host(site):
  """Links may lead away; what the browser loads by itself may not."""
  loads = re.compile(
    r'<(?:script|img|iframe|source|link)\b[^>]*(?:src|href)="(?:https?:)?//'
    r'|url\(["\']?(?:https?:)?//|@import ["\'](?:https?:)?//'
  )
  files = [p for end in ('html', 'css') for p in site.glob(f'**/*.{end}')]
  assert len(files) > 20
  for path in files:
    assert not loads.search(path.read_text()), path


def test_the_site_is_not_kept():
  ignored = (ROOT / '.gitignore').read_text().splitlines()
  assert 'site/' in ignored and '-d site' in (ROOT / 'Makefile').read_text()


def targets():
  return re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), re.M)


def check_make(words, name):
  for word in words:
    assert '=' in word or word in targets(), f'make {word}'


def check_pip(words, name):
  given = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
  extras = given['optional-dependencies']
  packages = [p for extra in extras.values() for p in extra]
  for word in words:
    if extra := re.search(r'\[(\w+)\]$', word):
      assert extra[1] in extras, word
    elif word not in ('install', '-e'):
      assert word in packages, word


def check_python(words, name):
  if words[0] != '-m':  # nothing of the tree: there it would not see bn_jax
    assert words[0] in pages.files(name), words
  elif words[1].startswith('docs.snippets.'):
    assert (ROOT / f'{words[1].replace(".", "/")}.py').is_file(), words
  elif words[1] == 'pytest':
    assert all((ROOT / w).exists() for w in words if w.startswith('tests'))
    if '-k' in words:
      assert any(words[-1] in path for path in pages.files(name))
  else:
    check_experiment(words[1], words[2:])


def check_experiment(module, words):
  """Runs a command until it has what it needs to begin."""
  package = importlib.util.find_spec(module)
  assert package and module.startswith('experiments.'), module
  if package.submodule_search_locations:
    module += '.__main__'
  with pytest.raises((CheckedError, SystemExit)) as caught:
    importlib.import_module(module).main(words)
  assert caught.type is CheckedError or not caught.value.code, words


def check_source(words, name):
  assert words == ['.venv/bin/activate']


CHECKS = {
  'make': check_make,
  'pip': check_pip,
  'python': check_python,
  'source': check_source,
}


@pytest.mark.parametrize('name', pages.WITH_COMMANDS)
def test_every_command_can_begin(name, house, monkeypatch):
  """Its flags are known, and its configs can be built with what it sets."""
  house(name)
  given = argparse.ArgumentParser.parse_args
  for target, attribute in (
    (progress, 'bar'),
    (importlib.import_module('bn_jax.live'), 'follow'),
    (importlib.import_module('bn_jax.rerun'), 'load'),
    (importlib.import_module('bn_jax.train'), 'check'),  # reads the data
  ):
    monkeypatch.setattr(target, attribute, checked)
  monkeypatch.setattr('bn_jax.devices.set_up', lambda *_: None)
  monkeypatch.setattr(
    argparse.ArgumentParser,
    'parse_args',
    lambda *args, **kwargs: checked(given(*args, **kwargs)),
  )
  for program, *words in pages.commands(name):
    assert program in CHECKS, (program, words)
    CHECKS[program](words, name)


def prelude(name):
  """What a block of Python is the continuation of."""
  if name == 'README.md':
    snippet = ROOT / 'docs/snippets/flax_loop.py'
    names = {}
    exec(snippet.read_text().partition('# [begin]')[0], names)
    return names
  return {'x': np.ones((4, 3), np.float32)}


@pytest.mark.parametrize('name', WITH_PYTHON)
def test_every_block_of_python_runs(name, house):
  house(name)
  names = prelude(name)
  for text in pages.python(name):
    for folder in set(re.findall(r"'(runs/\w+)'", text)):
      if not pathlib.Path(folder).exists():
        synthetic.write_whole_study(pathlib.Path(folder))
    code = compile(text, name, 'exec')
    try:
      exec(code, names)
    except ModuleNotFoundError as error:
      assert name == 'conformance.md' and error.name in PEERS


def test_the_readme_shows_the_program_that_is_tested():
  shown = pages.python('README.md')[-1]
  snippet = (ROOT / 'docs/snippets/flax_loop.py').read_text()
  lines = snippet.partition('# [begin]\n')[2].partition('# [end]')[0]
  assert lines.strip() in shown


def test_the_strategy_of_its_page_trains(house):
  house('add_a_strategy.md')
  assert strategies.search('my_norm')
  run = tiny.run(('my_norm',))
  state, metrics = run.train_step(tiny.start(run), tiny.batch())
  assert np.isfinite(metrics['train/loss']) and state.diverged_at == -1
  seen = run.forward(state, tiny.batch()).sites['site_1']
  np.testing.assert_allclose(seen.normalized.mean(-1), 0, atol=1e-5)


def test_a_strategy_of_the_same_name_is_another(followed, house):
  """Faults: his file first, his module, or the page's programs in his tests."""
  programs = followed()
  test_the_strategy_of_its_page_trains(house)
  assert followed() == programs


@pytest.mark.parametrize('strategy', ['none', 'batch_norm', 'renormalize'])
def test_the_model_of_its_page_trains(strategy, house):
  house('add_a_model.md')
  assert default('none', 'residual_mlp').model.depth == 8
  run = tiny.run((strategy,), model='residual_mlp')
  state = tiny.start(run)
  state, metrics = run.train_step(state, tiny.batch())
  assert np.isfinite(metrics['train/loss'])


def gallery():
  spec = importlib.util.spec_from_file_location(
    'gallery', ROOT / 'docs/snippets/gallery.py'
  )
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_the_gallery_has_every_plot_with_its_picture(tmp_path):
  synthetic.write_whole_study(tmp_path / 'study')
  drawn = dict(gallery().draw(tmp_path / 'study'))
  public = set(plots.__all__) - {'label', 'styles'}
  assert set(drawn) == public
  for name, fig in drawn.items():
    assert isinstance(fig, matplotlib.figure.Figure)
    picture = ROOT / f'docs/figures/gallery/{name}.png'
    assert 0 < picture.stat().st_size < 100_000
    assert plots.__dict__[name].__doc__
  assert len(list((ROOT / 'docs/figures/gallery').iterdir())) == len(public)
