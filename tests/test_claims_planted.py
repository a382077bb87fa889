"""Each measurement on what the claim denies: its verdict has to turn."""

import pytest

from bn_jax import criteria
from bn_jax.criteria import SUPPORTED
from experiments import claims
from experiments.claims import _lab


def wrongly(sites, params, inputs):
  """Restores nothing: scale 1 and bias 0 stay."""
  del sites, inputs
  return params


PLANTS = {
  'a penalty that normalizes perfectly': (
    'penalty_is_imperfect', {'strategy': 'activation_penalty+batch_norm'},
    {'moments', 'kl', 'log_variance'},
  ),
  'a batch norm that leaks': (
    'backprop_through_statistics', {'full': 'both'},
    {'identity', 'shift', 'bias'},
  ),
  'a mean taken for a constant': (
    'bias_is_redundant', {'full': 'mean'}, {'gradient'},
  ),
  'a chain that nothing normalizes': (
    'linear_chain', {'strategy': 'none'},
    {'only_sign', 'no_gradient', 'mended', 'wide_gain'},
  ),
  'a scale and bias that restore nothing': (
    'scale_and_bias_restore', {'restore': wrongly}, {'error_32', 'error_64'},
  ),
  'means that every layer moves': (
    'bias_alone_sets_the_mean', {'strategy': 'none'}, {'own', 'one', 'all'},
  ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize('plant', PLANTS)
def test_planted_opposite_turns_the_verdict(plant, tmp_path, num_devices):
  num_devices(2)
  name, options, turned = PLANTS[plant]
  module = claims.load(name)
  values = module.measure(_lab.Lab(tmp_path, quick=True), **options)['values']
  outcomes = {
    c.quantity: criteria.judge(
      c._replace(seeds=1), values[c.quantity]
    ).outcome
    for c in module.CRITERIA
  }  # fmt: skip
  for quantity in turned:
    assert outcomes[quantity] != SUPPORTED, outcomes
