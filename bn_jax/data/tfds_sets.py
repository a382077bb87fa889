"""Image-classification sets of TensorFlow Datasets, by their names.

Sets prepared as array_record are read without TensorFlow. Image and label are
found by the types of the set's features, whatever their names.
"""

import contextlib
import difflib
import io
import logging
import os
from typing import NamedTuple

import absl.logging
import numpy as np

from bn_jax.data import prepare
from bn_jax.data.dataset import first_line
from bn_jax.data.source import Source, decode
from bn_jax.errors import UserError


class Found(NamedTuple):
  """A set with its own splits.

  Attributes:
    train: its split `train`.
    test: its split `test`, or `validation` where there is no test split with
      labels; None where there is neither.
    label_names: one for each class.
    source: its name, config and version.
  """

  train: Source
  test: Source | None
  label_names: tuple[str, ...]
  source: str


def find(
  name: str, data_dir: str = '', image_size: int = 0, in_memory: bool = True
) -> Found:
  """Finds a set that is prepared, or prepares it with TensorFlow.

  Args:
    name: as TFDS knows it; `name/config` and `name:version` are allowed.
    data_dir: the folder that holds the sets; '' is TFDS's own choice.
    image_size: see `Source`.
    in_memory: whether the set may be decoded whole, as tfrecord has to be.

  Raises:
    UserError: there is no such set, it cannot be had, or it is not one of
      images and labels.
  """
  _quieten()
  builder = _builder(name, data_dir)
  image, label = _features(builder, name)
  classes = builder.info.features[label]
  if classes.num_classes is None or classes.num_classes < 2:
    raise UserError(
      f'data.name: {name!r} has {classes.num_classes} class; a classification '
      'needs two or more'
    )
  if not builder.is_prepared():
    _prepare(builder, name, data_dir)
    builder = _builder(name, data_dir)
  _check_whole(builder, name)

  splits = list(builder.info.splits)
  if 'train' not in splits:
    raise UserError(
      f'data.name: {name!r} has no split named train, but '
      f'{", ".join(splits) or "none"}'
    )

  def source(split):
    examples = _examples(builder, name, split, (image, label), in_memory)
    # Some test splits are published without labels, which are then -1.
    if split != 'train' and decode(name, examples, [0])[0][label] < 0:
      return None
    return Source(name, examples, image, label, classes.num_classes, image_size)

  tests = (source(s) for s in ('test', 'validation') if s in splits)
  test = next((s for s in tests if s is not None), None)
  return Found(
    source('train'), test, tuple(classes.names), builder.info.full_name
  )


def _quieten():
  """Drops TFDS's warnings (which decoder is fastest, what is not there)."""

  def important(record):
    return (
      'tensorflow_datasets' not in record.pathname
      or record.levelno > logging.WARNING
    )

  important.__name__ = _quieten.__name__
  logger = absl.logging.get_absl_logger()
  if _quieten.__name__ not in [f.__name__ for f in logger.filters]:
    logger.addFilter(important)


def _builder(name, data_dir):
  """Returns the builder of what is on the disk, or else of the catalogue."""
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core import naming, read_only_builder

  if data_dir and '://' not in data_dir and not os.path.isdir(data_dir):
    raise UserError(
      f'data.data_dir: {data_dir!r} is not a folder; it must be the one that '
      f'holds {name!r}, or will: make it, and the set is prepared there'
    )
  try:
    naming.parse_builder_name_kwargs(name)
  except ValueError as error:
    raise _unknown(name, data_dir) from error
  options = {'data_dir': data_dir} if data_dir else {}
  try:
    return read_only_builder.builder_from_files(name, **options)
  except tfds.core.DatasetNotFoundError:
    pass
  except Exception as error:
    raise _damaged(name, data_dir or _folder(data_dir), error) from error
  try:
    with contextlib.redirect_stdout(io.StringIO()):  # a banner on what it lacks
      return tfds.builder(name, **options)
  except tfds.core.DatasetNotFoundError as error:
    raise _unknown(name, data_dir) from error
  except Exception as error:
    line = first_line(error)
    raise UserError(f'data.name: {name!r}: {line}') from error


def _unknown(name, data_dir):
  import tensorflow_datasets as tfds

  known = tfds.list_builders(with_community_datasets=False)
  known = ['mnist1d', *_held(_folder(data_dir)), *known]
  near = dict.fromkeys(difflib.get_close_matches(name.lower(), known, 4, 0.6))
  question = f' - did you mean {" or ".join(near)}?' if near else ''
  return UserError(
    f'data.name: {name!r}{question}; allowed are mnist1d and the '
    'image-classification sets of TFDS, by their names there'
  )


def _damaged(name, folder, reason):
  if isinstance(reason, Exception):
    reason = first_line(reason)
  return UserError(
    f'data.name: {name!r} in {folder} is not whole ({reason}); delete its '
    'folder and prepare the set again'
  )


def _folder(data_dir):
  """Returns the folder that TFDS looks in."""
  from tensorflow_datasets.core import constants

  return data_dir or os.path.expanduser(constants.DATA_DIR)


def _held(folder):
  """Returns the names of the sets in a folder."""
  try:
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
  except OSError:
    return []
  return [e.name for e in entries if e.is_dir() and e.name != 'downloads']


def _prepare(builder, name, data_dir):
  """Prepares the set, unless half of it is there."""
  folder = _folder(data_dir)
  if os.path.isdir(builder.data_dir):
    # TFDS would take the folder for the set and do nothing.
    raise _damaged(name, folder, f'{builder.data_dir} has no dataset_info.json')
  held = _held(folder)
  where = f'{folder} (which holds {", ".join(held[:8])})' if held else folder
  prepare.prepare(builder, name, where)


def _check_whole(builder, name):
  for split in builder.info.splits.values():
    for path in split.filepaths:
      if not path.exists():
        raise _damaged(name, os.path.dirname(path), f'{path.name} is missing')


def _features(builder, name):
  """Returns the keys of the image and the label."""
  import tensorflow_datasets as tfds

  features = builder.info.features
  top = (
    dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
  )
  supervised = builder.info.supervised_keys or ()

  def only(kind, what):
    keys = [key for key, feature in top.items() if isinstance(feature, kind)]
    preferred = [key for key in keys if key in supervised] or keys
    if len(preferred) == 1:
      return preferred[0]
    raise UserError(
      f'data.name: {name!r} is not a set for image classification: of its '
      f'features ({", ".join(top)}) {len(keys)} are {what}; 1 must be'
    )

  image = only(tfds.features.Image, 'an image')
  label = only(tfds.features.ClassLabel, 'a class label')
  dtype = np.dtype(top[image].np_dtype)
  if dtype != np.uint8:
    raise UserError(
      f'data.name: the images of {name!r} are {dtype}; allowed are images of '
      'uint8'
    )
  return image, label


def _examples(builder, name, split, keys, in_memory):
  """Returns a sequence of the split's examples with `__getitems__`."""
  formats = {f.value for f in builder.info.available_file_formats()}
  if 'array_record' in formats:
    return builder.as_data_source(split)
  found = f'data.name: {name!r} is prepared as {"".join(sorted(formats))}'
  again = (
    f'prepare it again in another data_dir, in Python by '
    f'`{prepare.in_python(name)}`'
  )
  if not in_memory:
    raise UserError(
      f'{found}, and data.in_memory=False needs array_record: {again}'
    )
  if not prepare.has_tensorflow():
    raise UserError(
      f'{found}, which needs TensorFlow: pip install tensorflow-cpu, or {again}'
    )
  return prepare.tfrecord(builder, split, keys)
