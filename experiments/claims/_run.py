"""Measures claims one after the other, and keeps what is finished."""

import datetime
import pathlib
import shlex
import time

import numpy as np

from bn_jax import criteria, environment, progress, records
from bn_jax.errors import UserError
from experiments import claims
from experiments.claims import _files, _page
from experiments.claims._lab import Lab, plain

NO_VERDICT = 'no verdict (smoke run)'
# What a file of `results/` holds; one from before there was a `date` is read.
KEYS = {
  'name', 'sentence', 'about', 'criteria', 'measured', 'seeds', 'quick',
  'seconds', 'environment',
}  # fmt: skip


def run(only, workdir, *, quick, doc=None, argv=()):
  """Measures the claims that are not measured yet; writes json and page.

  Args:
    only: Names of claims.
    workdir: Where `results/NAME.json`, `claims.json` and `claims.html` go.
    quick: A smoke run: small, and without verdicts.
    doc: A Markdown file to write as well; its figures go beside it.
    argv: The command's flags, to be recorded.

  Raises:
    UserError: If the folder or `doc` cannot be used, the folder holds runs of
      the other size, or a claim's criterion was changed after it was measured.
  """
  folder = pathlib.Path(workdir)
  _check_folder(folder, quick)
  doc = None if doc is None else _files.check_doc(doc)
  _claim_folder(folder, quick)
  results(folder)  # what cannot be read is told before hours are spent
  modules = {name: claims.load(name) for name in only}
  finished = {name: _finished(folder, name, m) for name, m in modules.items()}
  total = sum(m.SECONDS for m in modules.values())
  with progress.bar(total, 'planned seconds') as advance:
    for name, module in modules.items():
      clock = _Clock(name, module.SECONDS, advance)
      if not finished[name]:
        _measure(folder, name, module, quick, clock.tick)
      clock.finish(taken=not finished[name])
  found = results(folder)
  command = shlex.join(['python', '-m', 'experiments.claims', *argv])
  with records.writing(folder):
    records.write_json(
      folder / 'claims.json', [_without_figure(r) for r in found]
    )
    page = _page.write(folder, found, command)
  if doc:
    with _files.writing_doc(doc):
      _page.write_doc(doc, found, command)
  for result in found:
    print(f'{result["verdict"]:<13}  {result["name"]}')
  print(f'page: {page}')


def results(folder: pathlib.Path) -> list[dict]:
  """Every finished claim of a workdir, with its verdict."""
  paths = [folder / 'results' / f'{name}.json' for name in claims.names()]
  return [_read(p) for p in paths if p.exists()]


def _read(path):
  """A finished claim with its verdict.

  Raises:
    UserError: If the file is not what `_measure` wrote.
  """
  found = records.read_json(path)
  day = datetime.date.fromtimestamp(path.stat().st_mtime)
  try:
    if KEYS - found.keys():
      raise KeyError(*sorted(KEYS - found.keys()))
    _ = found['environment']['packages'], found['seeds'][0]
    return judged({'date': str(day), **found})
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    raise UserError(
      f'--workdir: {path} is no result of a claim ({error!r}); delete it to '
      'measure that claim again'
    ) from None


def judged(result: dict) -> dict:
  """A result with `findings`, one a criterion, and `verdict`."""
  agreed = [criteria.Criterion(**c) for c in result['criteria']]
  values = result['measured']['values']
  findings = [
    criteria.judge(c, np.array(values[c.quantity], np.float64)) for c in agreed
  ]
  verdict = NO_VERDICT if result['quick'] else criteria.combine(findings)
  found = [
    {**c._asdict(), **f._asdict()}
    for c, f in zip(agreed, findings, strict=True)
  ]
  if result['quick']:
    found = [f | {'outcome': '-'} for f in found]
  return {**result, 'verdict': verdict, 'findings': plain(found)}


def _check_folder(folder, quick):
  """Refuses a folder that cannot be used; writes nothing."""
  records.check_folder(folder / 'results')
  if (folder / 'config.json').exists():
    raise UserError(
      f'--workdir: {folder} holds a run or a study; choose another folder'
    )
  for name in ('claims.json', 'claims.html'):
    _files.check_file(folder / name)
  path = folder / 'claims_run.json'
  if path.exists() and records.read_json(path) != {'quick': quick}:
    kind = 'a full run' if quick else 'a smoke run (--quick)'
    raise UserError(
      f'--workdir: {folder} holds {kind}; choose another or delete it'
    )


def _claim_folder(folder, quick):
  """Makes the folder one of claims, of this size."""
  _check_folder(folder, quick)
  with records.writing(folder):
    (folder / 'results').mkdir(parents=True, exist_ok=True)
    if not (folder / 'claims_run.json').exists():
      records.write_json(folder / 'claims_run.json', {'quick': quick})


def _finished(folder, name, module):
  path = folder / 'results' / f'{name}.json'
  if not path.exists():
    return False
  agreed = plain([c._asdict() for c in module.CRITERIA])
  found, about = _read(path), claims.describe(name)[1]
  if (found['criteria'], found['about']) != (agreed, about):
    raise UserError(
      f'{name}: its criterion or description was changed after it was '
      f'measured; delete {path} to measure it again'
    )
  return True


def _measure(folder, name, module, quick, tick):
  began = time.monotonic()
  lab = Lab(folder / name, quick, tick)
  measured = module.measure(lab)
  sentence, about = claims.describe(name)
  found = {
    'name': name,
    'sentence': sentence,
    'about': about,
    'criteria': [c._asdict() for c in module.CRITERIA],
    'measured': plain(measured),
    'seeds': lab.seeds,
    'quick': quick,
    'seconds': round(time.monotonic() - began, 1),
    'date': str(datetime.date.today()),
    'environment': environment.here(),
  }
  with records.writing(folder):
    records.write_json(folder / 'results' / f'{name}.json', found)


def _without_figure(result):
  measured = {k: v for k, v in result['measured'].items() if k != 'figure'}
  return {**result, 'measured': measured}


class _Clock:
  """Advances the bar by the time a claim took, up to what was planned."""

  def __init__(self, name, planned, advance):
    self.name, self.planned, self.advance = name, planned, advance
    self.began, self.shown = time.monotonic(), 0
    advance(name, 0)

  def tick(self, label):
    self._show(f'{self.name}: {label}', time.monotonic() - self.began)

  def finish(self, taken):
    self._show(self.name, self.planned, taken)

  def _show(self, label, seconds, taken=True):
    new = int(min(seconds, self.planned)) - self.shown
    self.shown += new
    self.advance(label, new, taken)
