"""What strategies see of the network and its randomness."""

import jax
import numpy as np
import pytest
import tiny

from bn_jax import config as config_lib
from bn_jax import step, strategies
from bn_jax.layers.site import SiteInfo

pytestmark = pytest.mark.usefixtures('compiles_fast')


def test_forward_lists_sites_bottom_up_with_what_feeds_them():
  net = tiny.net(['none'])
  wanted = [SiteInfo(f'site_{i}', f'dense_{i}', (8,)) for i in (0, 1)]
  assert list(net.forward.sites) == wanted
  out = net.forward(net.state.params, {})
  assert list(out.sites) == ['site_0', 'site_1']


def test_what_if_reaches_the_sites_above():
  """Planted: an edit that is recorded and not passed on."""
  net = tiny.net(['none'])
  params = net.state.params
  edit = lambda path, v: v.input / 2 if path == 'site_0' else v.input  # noqa: E731
  found = net.forward(params, {}, edit=edit)
  x = net.image @ params['dense_0']['kernel'] + params['dense_0']['bias']
  near = dict(rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(found.sites['site_0'].input, x, **near)
  np.testing.assert_allclose(found.sites['site_0'].output, x / 2, **near)
  layer = params['dense_1']
  x = np.tanh(x / 2) @ layer['kernel'] + layer['bias']
  np.testing.assert_allclose(found.sites['site_1'].output, x, **near)


def test_probes_see_what_a_step_sees():
  """Fault: a `_Run.forward` that does not augment."""
  random = np.random.default_rng(0)
  ramp = 3 * np.linspace(-1, 1, 8)[None, :, None, None]
  image = np.float32(random.normal(size=(16, 8, 8, 3)) + ramp)
  batch = {'image': image, 'label': np.int32(random.integers(0, 3, 16))}
  made = config_lib.default('none', 'convnet')
  made.augment = 'crop_and_flip'
  one = np.ones(1, np.float32)
  spec = step.Spec((8, 8, 3), np.float32, 3, 0 * one, one)
  program = step.build(made.to_dict(), spec)
  state = jax.jit(program.initialize)(np.uint32(0), {}, batch)
  _, metrics = jax.jit(program.train_step)(state, batch)
  sites = jax.jit(program.forward)(state, batch).sites
  found = [float(v.moments().var.mean()) for v in sites.values()]
  np.testing.assert_allclose(found, metrics['site/var'], rtol=1e-4)


def test_keys_differ_between_seeds_and_steps(monkeypatch):
  """Planted: a key that the step is not folded into."""

  def post_step(state, forward):
    draw = jax.random.normal(forward.key)
    return state.replace(
      params=jax.tree.map(lambda x: 0 * x + draw, state.params)
    )

  edit = strategies.Strategy(post_step=post_step)
  monkeypatch.setattr(strategies, 'build', lambda *_: edit)
  program = step.build(tiny.config().to_dict(), tiny.spec())
  train_step, seen = jax.jit(program.train_step), set()
  for seed in (0, 1):
    state = tiny.start(program, seed)
    for _ in range(2):
      state, _ = train_step(state, tiny.batch())
      seen.add(float(state.params['head']['bias'][0]))
  assert len(seen) == 4
