"""A finished study, read back from its workdir so that it can run again."""

import pathlib

from ml_collections import ConfigDict

from bn_jax import config as config_lib
from bn_jax import records
from bn_jax.errors import UserError
from bn_jax.fields import flatten

FLAGS = ('config', 'strategies', 'trials', 'tuning_seeds', 'seeds')


def load(flags, overrides: list[str]):
  """What `compare --reproduce` runs: the recorded study, as it was.

  Sets `flags.workdir`, where it was not given, to `DIR-reproduced`.

  Returns:
    make_config(names) -> ConfigDict and the settings, as
    `config_files.load_study`.

  Raises:
    UserError: For a flag that would make it another study, a workdir that is
      the study's own, and a folder that holds no finished study.
  """
  path = pathlib.Path(flags.reproduce)
  given = [f'--{n.replace("_", "-")}' for n in FLAGS if getattr(flags, n)]
  for name in given + [o.split('=')[0] for o in overrides]:
    raise UserError(
      f'flags: {name} with --reproduce; the recorded study says it already'
    )
  flags.workdir = flags.workdir or f'{str(path).rstrip("/")}-reproduced'
  if pathlib.Path(flags.workdir).resolve() == path.resolve():
    raise UserError(
      f'--workdir: {flags.workdir} is the study itself; must be another folder'
    )
  found = _finished(path)
  settings = _filled('study', found['study'], config_lib.study())
  make_config = _configs(found['cases'], path)
  for name in settings.strategies:
    make_config(name)
  return make_config, settings


def _configs(cases, path):
  by_names = {'+'.join(c['strategies']): c for c in cases.values()}

  def make_config(names):
    if names not in by_names:
      raise UserError(f'--reproduce: {path} has no config for {names!r}')
    config = by_names[names]
    known = config_lib.default(names, config['model']['name'])
    return _filled(names, config, known)

  return make_config


def _filled(what, found, known):
  """A record, with the fields that are new since at their defaults.

  Raises:
    UserError: For a field that is gone: it would have no effect.
  """
  gone = [
    name
    for name in sorted(flatten(found).keys() - flatten(known).keys())
    if not (what == 'study' and name.startswith(('search.', 'grid.')))
  ]
  if gone:
    raise UserError(
      f'--reproduce: {what}: {", ".join(gone)}; this version of bn_jax has no '
      'such field'
    )
  return ConfigDict(_merged(known.to_dict(), found))


def _merged(known, found):
  new = {
    name: _merged(known.get(name, {}), value)
    if isinstance(value, dict) and isinstance(known.get(name, {}), dict)
    else value
    for name, value in found.items()
  }
  free = {'search', 'grid'} & known.keys()  # the study's own, whole
  return known | new | {name: found.get(name, {}) for name in free}


def _finished(path) -> dict:
  """The study's `config.json`, if all of it has run.

  Raises:
    UserError: Says what is missing, or damaged.
  """
  records.check_folder(path)
  if not (path / 'config.json').exists():
    raise UserError(f'--reproduce: no study in {path}; it has no config.json')
  found = records.read_json(path / 'config.json')
  try:
    cases = {
      name: {'strategies': list(case['strategies']), **case}
      for name, case in found['cases'].items()
    }
    phases = ['tune', 'final'] + ['rates'] * bool(found['study'].get('rates'))
    names = [case['model']['name'] for case in cases.values()]
  except (AttributeError, KeyError, TypeError):
    names = []
  if not names:
    raise UserError(
      f'--reproduce: {path / "config.json"} is not the record of a study'
    )
  runs = [
    f'runs/{phase}{name.removeprefix("case")}/summary.json'
    for name in cases
    for phase in phases
  ]
  for needed in ['environment.json', 'choice.json', *runs]:
    if not (path / needed).exists():
      raise UserError(
        f'--reproduce: the study in {path} is not finished: {needed} is '
        'missing; its own command goes on with it'
      )
    records.read_json(path / needed)
  return found | {'cases': cases}
