"""Images whose batch is split over eight devices: the same run as on one."""

import numpy as np
import pytest
import tiny

from bn_jax import config as config_lib
from bn_jax.data import Dataset, Split
from bn_jax.population import Population

SHAPE, CLASSES, STEPS = (8, 8, 3), 3, 6


def images(count, seed):
  random = np.random.default_rng(seed)
  label = random.integers(0, CLASSES, count).astype(np.int32)
  image = (
    random.integers(0, 200, (count, *SHAPE)) + 20 * label[:, None, None, None]
  )
  return Split(image.astype(np.uint8), label)


def curves(model, chained, data, **fields):
  config = config_lib.default(chained, model)
  config.update_from_flattened_dict({
    'num_train_steps': STEPS, 'batch_size': 16, 'augment': 'crop_and_flip',
    'optimizer.momentum': 0.9, 'log.every': 2, 'log.eval_every': STEPS,
    'mesh.data': data, **fields,
  })  # fmt: skip
  mean, std = np.full(3, 100.0), np.full(3, 60.0)
  # 40 to evaluate on: the last batch is not whole on any number of devices.
  parts = images(96, 1), images(40, 2), images(24, 3)
  dataset = Dataset('squares', *parts, CLASSES, mean, std, ())
  members = [tiny.member(s, optimizer__learning_rate=0.05) for s in (0, 1)]
  population = Population(config.to_dict(), dataset, members)
  state, metrics = population.train(population.initialize(), 0, STEPS)
  scores = population.evaluate(state, dataset.validation)
  return population.fetch(metrics) | scores


@pytest.mark.parametrize(
  'model, chained, fields',
  [
    ('convnet', 'batch_norm', {'model.features': (4, 8)}),
    ('convnet', 'renormalize', {'model.features': (4, 8)}),
    ('resnet', 'batch_norm', {'model.depth': 8, 'model.width': 4}),
  ],
)
def test_eight_devices_agree_with_one(model, chained, fields, num_devices):
  """Fault: `Layers.axis_name` None; a crop keyed by the device."""
  num_devices(1)
  wanted = curves(model, chained, 1, **fields)
  num_devices(8)
  found = curves(model, chained, 8, **fields)
  for name in wanted:
    np.testing.assert_allclose(
      found[name], wanted[name], rtol=5e-3, atol=1e-4, err_msg=name
    )
