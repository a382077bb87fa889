"""The command of the claims: what it keeps, refuses and writes."""

import datetime
import errno
import functools
import html
import json
import os
import subprocess
import sys

import pytest
from test_claims import NAMES, result, samples

import bn_jax
from bn_jax import environment
from bn_jax.errors import UserError
from experiments import claims
from experiments.claims import _draw, _page, _run


def test_a_claim_cannot_change_after_the_measurement(tmp_path, monkeypatch):
  name = 'linear_chain'
  module = claims.load(name)
  (tmp_path / 'results').mkdir()
  found = {c.quantity: samples(c, 1).tolist() for c in module.CRITERIA}
  path = tmp_path / 'results' / f'{name}.json'
  measured = result(name, found)
  path.write_text(json.dumps(measured))
  with pytest.raises(UserError, match='description was changed'):
    _run._finished(tmp_path, name, module)
  measured['about'] = claims.describe(name)[1]
  path.write_text(json.dumps(measured))
  assert _run._finished(tmp_path, name, module)
  changed = (module.CRITERIA[0]._replace(threshold=1.0), *module.CRITERIA[1:])
  monkeypatch.setattr(module, 'CRITERIA', changed)
  with pytest.raises(UserError, match='criterion or description was changed'):
    _run._finished(tmp_path, name, module)


def test_smoke_and_full_runs_do_not_share_a_folder(tmp_path):
  _run._claim_folder(tmp_path, quick=True)
  _run._claim_folder(tmp_path, quick=True)
  with pytest.raises(UserError, match='smoke run'):
    _run._claim_folder(tmp_path, quick=False)


@pytest.fixture
def stubs(monkeypatch):
  """Two claims whose measurements take no time; returns how often each ran."""
  ran = dict.fromkeys(('bias_is_redundant', 'linear_chain'), 0)

  def stub(name):
    def measure(lab):
      ran[name] += 1
      return result(name, good(name))['measured']

    return measure

  for name in ran:
    monkeypatch.setattr(claims.load(name), 'measure', stub(name))
    monkeypatch.setattr(claims.load(name), 'figure', blank)
  return ran


def blank(measured):
  del measured
  return _draw.panels()[0]


def good(name):
  return {c.quantity: samples(c, 1) for c in claims.load(name).CRITERIA}


def test_what_was_finished_before_an_interruption_is_not_measured_anew(
  tmp_path, stubs, monkeypatch
):
  first, second = stubs

  def interrupt(lab):
    raise KeyboardInterrupt

  with monkeypatch.context() as patched:
    patched.setattr(claims.load(second), 'measure', interrupt)
    with pytest.raises(KeyboardInterrupt):
      _run.run(stubs, tmp_path, quick=False)
  assert stubs == {first: 1, second: 0}
  before = (tmp_path / 'results' / f'{first}.json').read_bytes()
  _run.run(stubs, tmp_path, quick=False)
  assert stubs == {first: 1, second: 1}
  assert (tmp_path / 'results' / f'{first}.json').read_bytes() == before
  (tmp_path / 'results' / f'{first}.json').unlink()
  _run.run(stubs, tmp_path, quick=False)
  assert stubs == {first: 2, second: 1}


def test_a_result_of_an_older_version_is_read(tmp_path, stubs):
  name = min(stubs)
  _run.run([name], tmp_path, quick=False)
  path = tmp_path / 'results' / f'{name}.json'
  found = json.loads(path.read_text())
  assert found.pop('date')
  path.write_text(json.dumps(found))
  _run.run([name], tmp_path, quick=False)
  assert stubs[name] == 1
  assert _run.results(tmp_path)[0]['date'].startswith('20')


def test_both_pages_say_where_and_when_they_were_made(tmp_path, stubs):
  _run.run(stubs, tmp_path, quick=False, doc=tmp_path / 'c.md')
  there = environment.here()
  found = _run.results(tmp_path)
  line = _page.made(found)
  for word in (
    str(datetime.date.today()), f'{there["cores"]} cores', 'seeds 0 to 9',
    f'jax {there["packages"]["jax"]}', f'bn_jax {bn_jax.__version__}',
    there['commit'], 'in 0 minutes',
  ):  # fmt: skip
    assert word in line
  assert line in (tmp_path / 'c.md').read_text().splitlines()[:8]
  assert line in html.unescape((tmp_path / 'claims.html').read_text())
  other = found[1] | {'date': '2020-01-01', 'seconds': 600.0}
  mixed = _page.made([found[0], other])
  assert ', 2020-01-01 in 10 minutes' in mixed


def test_a_full_disk_is_one_line_and_leaves_whole_files(
  tmp_path, stubs, monkeypatch
):
  first, second = stubs
  doc = tmp_path / 'doc' / 'c.md'
  run = functools.partial(_run.run, workdir=tmp_path, quick=False, doc=doc)
  run([first])
  pages = [tmp_path / 'claims.json', tmp_path / 'claims.html', doc]
  pages.append(doc.parent / 'figures' / 'claims' / f'{first}.svg')
  for page in pages:
    page.write_text('before')
  new = tmp_path / 'results' / f'{second}.json'
  for only, fits in (([second], 0), *(([first], i) for i in range(4))):
    with monkeypatch.context() as patched:
      patched.setattr(os, 'fsync', Full(fits))
      with pytest.raises(UserError, match='No space left'):
        run(only)
    assert not new.exists()
    kept = [page.read_text() == 'before' for page in pages]
    assert kept.count(False) == fits  # written whole, one after the other


class Full:
  """A disk on which so many more files fit."""

  def __init__(self, fits):
    self.fits = fits

  def __call__(self, _):
    self.fits -= 1
    if self.fits < 0:
      raise OSError(errno.ENOSPC, 'No space left on device')


def spoil(folder, **files):
  """Writes files by stem: text, or None for a folder."""
  for name, text in files.items():
    path = folder / name.replace('__', '/')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if text is None else path.write_text(text)


SPOILT = {
  'an empty result': ({'results__linear_chain.json': '{}'}, 'linear_chain'),
  'a list for a result': ({'results__linear_chain.json': '[]'}, 'not an obj'),
  'a result of another kind': (
    {'results__linear_chain.json': json.dumps(
      result('linear_chain', {}) | {'measured': []}
    )}, 'is no result of a claim',
  ),
  'a folder for a result': ({'results__linear_chain.json': None}, 'read'),
  'a folder for the size': ({'claims_run.json': None}, 'claims_run.json'),
  'a list for the size': ({'claims_run.json': '[]'}, 'claims_run.json'),
  'a folder for the page': ({'claims.html': None}, 'claims.html is a folder'),
  'a folder for the table': ({'claims.json': None}, 'claims.json is a folder'),
  'a file for the results': ({'results': ''}, 'results is not a folder'),
  'a run': ({'config.json': '{}'}, 'holds a run or a study'),
}  # fmt: skip


@pytest.mark.parametrize('how', SPOILT)
def test_a_folder_that_cannot_be_used_is_one_line(tmp_path, stubs, how):
  files, said = SPOILT[how]
  spoil(tmp_path, **files)
  before = sorted(tmp_path.rglob('*'))
  with pytest.raises(UserError, match=said) as error:
    _run.run(['bias_is_redundant'], tmp_path, quick=False)
  assert '\n' not in str(error.value)
  assert stubs['bias_is_redundant'] == 0
  left = set(tmp_path.rglob('*')) - set(before)
  assert {p.name for p in left} <= {'results', 'claims_run.json'}


@pytest.mark.parametrize(
  ('doc', 'said'),
  [
    ('.', 'is a folder'),
    ('', 'is a folder'),
    ('file/c.md', 'is not a folder'),
    ('/proc/c.md', 'cannot be written'),
    ('x' * 300, 'too long'),
  ],
)
def test_a_page_that_cannot_be_written_is_told_first(
  tmp_path, stubs, monkeypatch, doc, said
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'file').touch()
  with pytest.raises(UserError, match=said) as error:
    _run.run(list(stubs), tmp_path / 'new', quick=False, doc=doc)
  assert str(error.value).startswith('--doc')
  assert not any(stubs.values())
  assert not (tmp_path / 'new').exists()


def command(*flags, timeout=120):
  return subprocess.run(
    [sys.executable, '-X', 'importtime', '-m', 'experiments.claims', *flags],
    capture_output=True, text=True, timeout=timeout,
  )  # fmt: skip


def test_help_and_list_are_answered_without_jax():
  for flag in ('--help', '--list'):
    done = command(flag)
    assert done.returncode == 0
    assert '| jax' not in done.stderr.replace('bn_jax', '')
    assert 'linear_chain' in done.stdout


def test_mistakes_end_with_one_line(tmp_path):
  spoil(tmp_path, **{'run__config.json': '{}', 'list__claims_run.json': '[]'})
  new = f'--workdir={tmp_path}/new'
  for flags, said in (
    ((new, '--only=no_such'), 'no_such'),
    ((), '--workdir'),
    ((new, '--config.seed=1'), 'claims have no config'),
    ((new, f'--doc={tmp_path}'), 'is a folder'),
    ((f'--workdir={tmp_path}/run',), 'holds a run'),
    ((f'--workdir={tmp_path}/list',), 'claims_run.json'),
  ):
    done = command(*flags)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert 'Traceback' not in done.stderr
  assert not (tmp_path / 'new').exists()


@pytest.mark.slow
def test_smoke_run_of_every_claim_ends_and_resumes(tmp_path):
  flags = (f'--workdir={tmp_path}', '--quick')
  done = command(*flags, f'--doc={tmp_path}/c.md', timeout=900)
  assert done.returncode == 0, done.stderr[-2000:]
  found = json.loads((tmp_path / 'claims.json').read_text())
  assert [r['name'] for r in found] == NAMES
  page = (tmp_path / 'claims.html').read_text()
  assert page.count('<svg') == len(NAMES)
  assert 'http://www.w3.org' in page and 'src="http' not in page
  for name in NAMES:
    svg = tmp_path / 'figures' / 'claims' / f'{name}.svg'
    assert svg.stat().st_size < 100_000
  again = command(*flags)
  assert again.returncode == 0
