"""From a config to an optax optimizer."""

import optax

from bn_jax import trees
from bn_jax.errors import UserError, pick

DEFAULTS = {
  'name': 'sgd',
  'learning_rate': 0.1,
  'momentum': 0.0,
  'nesterov': False,
  'weight_decay': 0.0,
  'schedule': 'constant',
  'warmup_steps': 0,
}

_RULES = {
  'sgd': lambda c: (
    optax.trace(c['momentum'], c['nesterov'])
    if _uses(c['momentum'])
    else optax.identity()
  ),
  'adam': lambda c: optax.scale_by_adam(),
  'rmsprop': lambda c: optax.scale_by_rms(),
}

_SCHEDULES = {
  'constant': lambda lr, steps: optax.constant_schedule(lr),
  'cosine': lambda lr, steps: optax.cosine_decay_schedule(lr, steps),
  # Divided by 10 at half and at three quarters, as He et al. 2015 train CIFAR.
  'step': lambda lr, steps: optax.piecewise_constant_schedule(
    lr, {steps // 2: 0.1, steps * 3 // 4: 0.1}
  ),
  'linear': lambda lr, steps: optax.linear_schedule(lr, 0.0, steps),
}


def _uses(value) -> bool:
  """Whether a number is not the constant 0; a traced one may be anything."""
  return not isinstance(value, (int, float)) or value != 0


def schedule(config: dict, num_train_steps: int):
  """The learning rate by step: a linear warm-up, then the named decay."""
  rate, warmup = config['learning_rate'], config['warmup_steps']
  decay = pick('optimizer.schedule', config['schedule'], _SCHEDULES)
  after = decay(rate, max(num_train_steps - warmup, 1))
  if not warmup:
    return after
  ramp = optax.linear_schedule(0.0, rate, warmup)
  return optax.join_schedules([ramp, after], [warmup])


def build(config: dict, num_train_steps: int) -> optax.GradientTransformation:
  """The optimizer of a run; its numbers may be traced.

  Weight decay is L2 (added to the gradient before momentum) for `sgd` and
  decoupled for the adaptive rules; it acts on kernels alone, never on biases
  or on the scale and bias of a site.

  Args:
    config: The fields of `DEFAULTS`.
    num_train_steps: The length of the schedule.

  Raises:
    UserError: For a name that is unknown, and a number without effect.
  """
  _check_momentum(config)
  rule = pick('optimizer.name', config['name'], _RULES)(config)
  decay = optax.identity()
  if _uses(config['weight_decay']):
    decay = optax.add_decayed_weights(config['weight_decay'], mask=_kernels)
  parts = (decay, rule) if config['name'] == 'sgd' else (rule, decay)
  rate = optax.scale_by_learning_rate(schedule(config, num_train_steps))
  if config['schedule'] == 'constant' and not config['warmup_steps']:
    rate = optax.scale_by_learning_rate(config['learning_rate'])
  return optax.chain(*parts, rate)


def _check_momentum(config):
  has_one = _uses(config['momentum'])
  if has_one and config['name'] != 'sgd':
    raise UserError(
      f'optimizer.momentum: has no effect under {config["name"]}; must be 0.0, '
      'or optimizer.name sgd'
    )
  if config['nesterov'] and not has_one:
    raise UserError(
      'optimizer.nesterov: True; has no effect without optimizer.momentum'
    )


def _kernels(params):
  return trees.map_named(lambda path, _: trees.is_kernel(path), params)
