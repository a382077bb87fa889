"""Models: networks with sites, which know no strategy. One file each.

The folder is the registry: the file `name.py` holds a flax module, named in
its constant `MODEL`, whose fields are its default config.
"""

import dataclasses
import importlib
import pkgutil

from bn_jax.errors import pick

_SET_BY_STEP = ('layers', 'num_classes', 'parent', 'name')


def names() -> list[str]:
  """Every model there is, by the name of its file."""
  found = (m.name for m in pkgutil.iter_modules(__path__))
  return sorted(name for name in found if not name.startswith('_'))


def _model(name: str):
  pick('model.name', name, names())
  return importlib.import_module(f'{__name__}.{name}').MODEL


def defaults(name: str) -> dict:
  """The fields of a model and their defaults."""
  fields = dataclasses.fields(_model(name))
  return {f.name: f.default for f in fields if f.name not in _SET_BY_STEP}


def build(name: str, options: dict, layers, num_classes: int):
  """The model as a flax module, called as model(x, train=, mask=None)."""
  return _model(name)(layers=layers, num_classes=num_classes, **options)
