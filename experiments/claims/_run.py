"""Measures claims one after the other, and keeps what is finished."""

import pathlib
import shlex
import time

import numpy as np

from bn_jax import criteria, progress, records
from bn_jax.errors import UserError
from experiments import claims
from experiments.claims import _page
from experiments.claims._lab import Lab, plain

NO_VERDICT = 'no verdict (smoke run)'


def run(only, workdir, *, quick, doc=None, argv=()):
  """Measures the claims that are not measured yet; writes json and page.

  Args:
    only: Names of claims.
    workdir: Where `results/NAME.json`, `claims.json` and `claims.html` go.
    quick: A smoke run: small, and without verdicts.
    doc: A Markdown file to write as well; its figures go beside it.
    argv: The command's flags, to be recorded.

  Raises:
    UserError: If the folder holds runs of the other size, or a claim's
      criterion was changed after it was measured.
  """
  folder = pathlib.Path(workdir)
  _claim_folder(folder, quick)
  modules = {name: claims.load(name) for name in only}
  finished = {name: _finished(folder, name, m) for name, m in modules.items()}
  total = sum(m.SECONDS for m in modules.values())
  with progress.bar(total, 'planned seconds') as advance:
    for name, module in modules.items():
      clock = _Clock(name, module.SECONDS, advance)
      if not finished[name]:
        _measure(folder, name, module, quick, clock.tick)
      clock.finish()
  found = results(folder)
  records.write_json(
    folder / 'claims.json', [_without_figure(r) for r in found]
  )
  command = shlex.join(['python', '-m', 'experiments.claims', *argv])
  page = _page.write(folder, found, command)
  if doc:
    _page.write_doc(pathlib.Path(doc), found, command)
  for result in found:
    print(f'{result["verdict"]:<13}  {result["name"]}')
  print(f'page: {page}')


def results(folder: pathlib.Path) -> list[dict]:
  """Every finished claim of a workdir, with its verdict."""
  paths = [folder / 'results' / f'{name}.json' for name in claims.names()]
  return [judged(records.read_json(p)) for p in paths if p.exists()]


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


def _claim_folder(folder, quick):
  path, wanted = folder / 'claims_run.json', {'quick': quick}
  if path.exists():
    if records.read_json(path) != wanted:
      kind = 'a full run' if quick else 'a smoke run (--quick)'
      raise UserError(
        f'--workdir: {folder} holds {kind}; choose another or delete it'
      )
    return
  try:
    (folder / 'results').mkdir(parents=True, exist_ok=True)
    records.write_json(path, wanted)
  except OSError as error:
    raise UserError(
      f'--workdir: {folder} cannot be written: {error.strerror}'
    ) from None


def _finished(folder, name, module):
  path = folder / 'results' / f'{name}.json'
  if not path.exists():
    return False
  agreed = plain([c._asdict() for c in module.CRITERIA])
  if records.read_json(path)['criteria'] != agreed:
    raise UserError(
      f'{name}: its criterion was changed after it was measured; delete '
      f'{path} to measure it again'
    )
  return True


def _measure(folder, name, module, quick, tick):
  began = time.monotonic()
  lab = Lab(folder / name, quick, tick)
  measured = module.measure(lab)
  sentence, about = claims.describe(name)
  records.write_json(
    folder / 'results' / f'{name}.json',
    {
      'name': name,
      'sentence': sentence,
      'about': about,
      'criteria': [c._asdict() for c in module.CRITERIA],
      'measured': plain(measured),
      'seeds': lab.seeds,
      'quick': quick,
      'seconds': round(time.monotonic() - began, 1),
      'environment': records.environment(),
    },
  )


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

  def finish(self):
    self._show(self.name, self.planned)

  def _show(self, label, seconds):
    new = int(min(seconds, self.planned)) - self.shown
    self.shown += new
    self.advance(label, new)
