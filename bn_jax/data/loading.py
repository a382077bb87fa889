"""From the `data` part of a run's config to a `Dataset`."""

from typing import NamedTuple

import numpy as np

from bn_jax.data import mnist1d, source, tfds_sets
from bn_jax.data.dataset import (
  Dataset,
  Split,
  limit_part,
  split_parts,
  split_test,
)
from bn_jax.errors import UserError


class Fields(NamedTuple):
  """The fields of `config.data` that `load` reads, and their defaults.

  Attributes:
    name: 'mnist1d', or an image-classification set of TFDS by its name,
      with `/config` and `:version` where TFDS allows them.
    data_dir: the folder of TFDS's sets; '' is TFDS's own choice, which the
      variable TFDS_DATA_DIR sets.
    validation_fraction: the share of the training split held out.
    seed: fixes what is held out.
    limit: the most examples in each part, for quick trials; 0 is all.
    in_memory: decode once and hold as arrays; if not, each part is a
      `source.Source` that decodes what is read.
    image_size: 0 leaves images as they are; N makes them N x N.
  """

  name: str = 'mnist1d'
  data_dir: str = ''
  validation_fraction: float = 0.1
  seed: int = 0
  limit: int = 0
  in_memory: bool = True
  image_size: int = 0


def load(data_config) -> Dataset:
  """Loads a data set and divides it.

  The test part is the set's own test split; where TFDS has none with labels
  it is the `validation` split, and where there is none either, a share
  (`validation_fraction`) of the training split that is the same for all
  seeds. The validation part always comes out of the training split.

  Args:
    data_config: a ConfigDict or dict with the fields of `Fields`; what it
      lacks has the default.

  Raises:
    UserError: the set cannot be had, in one line that says why.
  """
  given = {k: data_config[k] for k in Fields._fields if k in data_config}
  fields = Fields(**given)
  for field in ('limit', 'image_size'):
    if getattr(fields, field) < 0:
      raise UserError(
        f'data.{field}: {getattr(fields, field)}; allowed are 0 and up'
      )
  own = _mnist1d() if fields.name == 'mnist1d' else _tfds(fields)
  parts = _divide(own, fields)
  if fields.in_memory:
    parts = {
      part: source.in_memory(examples, f'Decoding {fields.name}, {part}')
      for part, examples in parts.items()
    }
  _check_classes(fields, parts['train'], own.label_names)
  mean, std = source.statistics(parts['train'])
  return Dataset(
    name=fields.name,
    **parts,
    num_classes=len(own.label_names),
    mean=mean,
    std=std,
    label_names=own.label_names,
    source=own.source,
  )


def _mnist1d():
  made = mnist1d.arrays()
  return tfds_sets.Found(
    Split(made['x'], made['y']),
    Split(made['x_test'], made['y_test']),
    tuple(str(digit) for digit in range(10)),
    'mnist1d',
  )


def _tfds(fields):
  return tfds_sets.find(
    fields.name, fields.data_dir, fields.image_size, fields.in_memory
  )


def _divide(own, fields):
  """Returns the three parts by name."""
  train, test = own.train, own.test
  if test is None:
    held = split_test(train.num_examples, fields.validation_fraction)
    train, test = train.subset(held.train), train.subset(held.held_out)
  parts = split_parts(
    train.num_examples, fields.validation_fraction, fields.seed, fields.limit
  )
  kept = limit_part(test.num_examples, fields.seed, fields.limit)
  return {
    'train': train.subset(parts.train),
    'validation': train.subset(parts.held_out),
    'test': test.subset(kept),
  }


def _check_classes(fields, train, label_names):
  if not isinstance(train, Split) or len(np.unique(train.label)) > 1:
    return
  field = 'limit' if fields.limit else 'name'
  raise UserError(
    f'data.{field}: {getattr(fields, field)!r}; all {train.num_examples} '
    f'examples of the training part are of the class '
    f'{label_names[train.label[0]]!r}, and a classification needs two'
  )
