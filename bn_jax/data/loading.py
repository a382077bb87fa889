"""From the `data` part of a run's config to a `Dataset`."""

from typing import NamedTuple

from bn_jax.data import mnist1d
from bn_jax.data.dataset import (
  Dataset,
  Split,
  limit_part,
  split_parts,
  statistics,
  statistics_positions,
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
  """

  name: str = 'mnist1d'
  data_dir: str = ''
  validation_fraction: float = 0.1
  seed: int = 0
  limit: int = 0


def load(data_config) -> Dataset:
  """Loads a data set and divides it; the test split is the set's own.

  Args:
    data_config: a ConfigDict with the attributes of `Fields`; what it lacks
      has the default.

  Raises:
    UserError: the set cannot be had, in one line that says why.
  """
  given = {k: data_config[k] for k in Fields._fields if k in data_config}
  fields = Fields(**given)
  if fields.limit < 0:
    raise UserError(f'data.limit: {fields.limit}; allowed are 0 (all) and up')
  if fields.name == 'mnist1d':
    return _mnist1d(fields)
  raise UserError(f'data.name: {fields.name!r}; allowed is mnist1d')


def _mnist1d(fields):
  made = mnist1d.arrays()
  image, label = made['x'], made['y']
  parts = split_parts(
    len(label), fields.validation_fraction, fields.seed, fields.limit
  )
  test = limit_part(len(made['y_test']), fields.seed, fields.limit)
  train = Split(image[parts.train], label[parts.train])
  mean, std = statistics([train.image[statistics_positions(len(train.label))]])
  return Dataset(
    fields.name,
    train,
    Split(image[parts.validation], label[parts.validation]),
    Split(made['x_test'][test], made['y_test'][test]),
    10,
    mean,
    std,
    tuple(str(digit) for digit in range(10)),
  )
