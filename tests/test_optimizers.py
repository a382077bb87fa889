"""Each rule against ten lines of NumPy, with constants and with traced numbers.

Planted and seen: decay of biases, decay after momentum, decay times the rate
for sgd left out, a schedule that starts with its first decay, a warm-up that
restarts the decay, Nesterov's flag not handed on.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bn_jax import optimizers
from bn_jax.errors import UserError

PARAMS = {
  'dense': {
    'kernel': np.array([[0.5, -1.0], [2.0, 0.25]], np.float32),
    'bias': np.array([1.0, -2.0], np.float32),
  },
  'norm': {'scale': np.array([3.0, 1.0], np.float32)},
}


def grads(step):
  return jax.tree.map(lambda x: jnp.sin(x + step), PARAMS)


def walk(config, steps=3, traced=False):
  """Parameters after some steps of an optimizer."""
  numbers = {k: v for k, v in config.items() if isinstance(v, float)}
  config = optimizers.DEFAULTS | config

  def run(numbers):
    rule = optimizers.build({**config, **numbers}, 100)
    params, state = PARAMS, rule.init(PARAMS)
    for step in range(steps):
      updates, state = rule.update(grads(step), state, params)
      params = jax.tree.map(jnp.add, params, updates)
    return params

  return jax.jit(run)(numbers) if traced else run(numbers)


def sgd(path, w, momentum=0.0, nesterov=False, weight_decay=0.0, rate=0.1):
  """Three steps on one leaf, from the formulas."""
  decay = weight_decay if path == 'kernel' else 0.0
  start, velocity = w, np.zeros_like(w)
  for step in range(3):
    gradient = np.sin(start + step) + decay * w
    velocity = gradient + momentum * velocity
    w = w - rate * (gradient + momentum * velocity if nesterov else velocity)
  return w


def adam(path, w, weight_decay=0.0, rate=0.1):
  decay = weight_decay if path == 'kernel' else 0.0
  start, first, second = w, 0.0, 0.0
  for step in range(3):
    gradient = np.sin(start + step)
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient**2
    m, v = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
    w = w - rate * (m / (np.sqrt(v) + 1e-8) + decay * w)
  return w


def rmsprop(path, w, weight_decay=0.0, rate=0.1):
  decay = weight_decay if path == 'kernel' else 0.0
  start, second = w, 0.0
  for step in range(3):
    gradient = np.sin(start + step)
    second = 0.9 * second + 0.1 * gradient**2
    w = w - rate * (gradient / np.sqrt(second + 1e-8) + decay * w)
  return w


@pytest.mark.parametrize('traced', [False, True])
@pytest.mark.parametrize(
  'rule, fields',
  [
    (sgd, {}),
    (sgd, {'weight_decay': 0.3}),
    (sgd, {'momentum': 0.9}),
    (sgd, {'momentum': 0.9, 'nesterov': True}),
    (sgd, {'momentum': 0.9, 'weight_decay': 0.3}),
    (adam, {}),
    (adam, {'weight_decay': 0.3}),
    (rmsprop, {'weight_decay': 0.3}),
  ],
)
def test_rules_against_numpy(rule, fields, traced):
  config = {'name': rule.__name__, 'learning_rate': 0.1, **fields}
  found = walk(config, traced=traced)
  wanted = {
    module: {k: rule(k, np.float64(v), **fields) for k, v in leaves.items()}
    for module, leaves in PARAMS.items()
  }
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=5e-6),
    found,
    wanted,
  )


@pytest.mark.parametrize('name', ['sgd', 'adam', 'rmsprop'])
def test_members_that_differ_in_numbers_share_a_program(name):
  """A number of 0 that is traced gives what leaving it out gives."""
  zeros = {'weight_decay': 0.0} | ({'momentum': 0.0} if name == 'sgd' else {})
  found = walk({'name': name, 'learning_rate': 0.1, **zeros}, traced=True)
  wanted = walk({'name': name, 'learning_rate': 0.1})
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, wanted
  )


@pytest.mark.parametrize(
  'given, words',
  [
    ({'name': 'adam', 'momentum': 0.9}, 'momentum: has no effect under adam'),
    ({'nesterov': True}, 'no effect without optimizer.momentum'),
    ({'name': 'rmsprop', 'nesterov': True}, 'no effect without'),
  ],
)
def test_a_number_without_effect_is_refused(given, words):
  """Faults: neither check; the config's own value seen, not the tuned one."""
  config = {'learning_rate': 0.1} | given
  with pytest.raises(UserError, match=words):
    walk(config)
  if 'momentum' in given:
    with pytest.raises(UserError, match=words):
      walk(config, traced=True)
  assert walk({'learning_rate': 0.1, 'momentum': 0.9, 'nesterov': True})


@pytest.mark.parametrize(
  'name, wanted',
  [
    ('constant', [1, 1, 1, 1, 1]),
    ('cosine', [1, 0.5 + 0.5 * np.cos(np.pi * 0.49), 0.5, 0.146447, 0]),
    ('step', [1, 1, 0.1, 0.01, 0.01]),
    ('linear', [1, 0.51, 0.5, 0.25, 0]),
  ],
)
def test_schedules(name, wanted):
  config = optimizers.DEFAULTS | {'learning_rate': 2.0, 'schedule': name}
  rate = optimizers.schedule(config, 100)
  found = [float(rate(step)) for step in (0, 49, 50, 75, 100)]
  np.testing.assert_allclose(found, 2 * np.array(wanted), rtol=1e-4, atol=1e-6)


def test_a_warmup_comes_before_the_schedule():
  fields = {'learning_rate': 2.0, 'schedule': 'linear', 'warmup_steps': 20}
  rate = optimizers.schedule(optimizers.DEFAULTS | fields, 100)
  found = [float(rate(step)) for step in (0, 10, 20, 60, 100)]
  np.testing.assert_allclose(found, [0, 1, 2, 1, 0], atol=1e-6)


def test_the_rate_of_a_schedule_reaches_the_step():
  fields = {'schedule': 'linear', 'learning_rate': 0.1}
  found, wanted = PARAMS, PARAMS
  found = walk(fields, steps=2)
  for step, rate in enumerate((0.1, 0.099)):
    wanted = jax.tree.map(
      lambda w, g, rate=rate: w - rate * g, wanted, grads(step)
    )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, wanted
  )


@pytest.mark.parametrize('field', ['name', 'schedule'])
def test_an_unknown_name_is_answered_with_those_there_are(field):
  with pytest.raises(UserError, match=f"^optimizer.{field}: 'sdg'; .*, "):
    optimizers.build(optimizers.DEFAULTS | {field: 'sdg'}, 100)
