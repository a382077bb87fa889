"""Sets that tests prepare for themselves, and where the real ones are."""

import os
import pathlib

import numpy as np
import PIL.Image
import pytest

from bn_jax import data
from bn_jax.errors import UserError


def tiny(
  folder,
  name='tiny',
  features=None,
  splits=(('train', 40), ('test', 10)),
  shape=lambda i: (4, 3, 3),
  label=lambda i: i % 3,
  supervised=None,
  file_format='array_record',
):
  """Prepares a set of images filled with their number; returns its folder."""
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core import registered

  features = features or {
    'picture': tfds.features.Image(shape=(None, None, shape(0)[-1])),
    'kind': tfds.features.ClassLabel(names=['ant', 'bee', 'cat']),
  }

  def value(feature, i):
    if isinstance(feature, tfds.features.Image):
      pixels = np.full(shape(i), i, np.uint8)
      return PIL.Image.fromarray(
        pixels[..., 0] if shape(i)[-1] == 1 else pixels
      )
    return label(i) if isinstance(feature, tfds.features.ClassLabel) else i

  def info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(features),
      supervised_keys=supervised,
    )

  def examples(first, num):
    for i in range(first, first + num):
      yield i, {key: value(feature, i) for key, feature in features.items()}

  with registered.skip_registration():  # as a set that somebody else prepared
    builder = type(
      name.title().replace('_', ''),
      (tfds.core.GeneratorBasedBuilder,),
      {
        'VERSION': tfds.core.Version('1.0.0'),
        '_info': info,
        '_split_generators': lambda self, _: {
          split: examples(100 * k, num) for k, (split, num) in enumerate(splits)
        },
        '_generate_examples': lambda self: None,
        '__module__': __name__,
      },
    )(data_dir=str(folder))
  builder.download_and_prepare(file_format=file_format)
  return pathlib.Path(builder.data_dir)


def load(folder, name='tiny', **fields):
  return data.load({'name': name, 'data_dir': str(folder), **fields})


def error(*args, **fields):
  with pytest.raises(UserError) as caught:
    load(*args, **fields)
  assert '\n' not in str(caught.value)
  return str(caught.value)


def numbers(part):
  """The number that each image of a tiny set is filled with."""
  images = part.read(np.arange(part.num_examples)).image
  assert (images == images[:, :1, :1, :1]).all()
  return images[:, 0, 0, 0].tolist()


def real_folder():
  """The folder of prepared mnist and fashion_mnist."""
  beside = pathlib.Path(__file__).parents[2] / 'shared' / 'tfds'
  for folder in (os.environ.get('TFDS_DATA_DIR'), beside):
    if folder and pathlib.Path(folder, 'mnist').is_dir():
      return folder
  pytest.skip('neither TFDS_DATA_DIR nor ../shared/tfds has mnist')
