"""Each strategy against a few lines of NumPy, its limits, its paper's claim.

What holds for all of them is in tests/test_contracts.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from bn_jax import strategies, trees
from bn_jax.errors import UserError
from bn_jax.strategies import base

pytestmark = pytest.mark.usefixtures('compiles_fast')


def mlp(params, x, at_site=lambda i, h: h):
  """The tanh network of tests/tiny.py; `at_site` acts on what arrives."""
  for i in range(2):
    layer = params[f'dense_{i}']
    x = at_site(i, x @ np.float64(layer['kernel']) + layer.get('bias', 0))
    for norm in params.get(f'site_{i}', {}).values():
      x = x * norm['scale'] + norm['bias']
    x = np.tanh(x)
  return x @ np.float64(params['head']['kernel']) + params['head']['bias']


def arriving(params, image, at_site=lambda i, h: h):
  """What arrives at each site."""
  seen = []
  mlp(params, image, lambda i, h: at_site(i, seen.append(h) or h))
  return seen


def run(net, params=None, batch_stats=None, train=True):
  """The network's `Output`."""
  given = (net.state.params, net.state.batch_stats)
  params = given[0] if params is None else params
  batch_stats = given[1] if batch_stats is None else batch_stats
  forward = jax.jit(lambda *args: net.forward(*args, train=train))
  return forward(params, batch_stats)


def edit(net, state=None):
  """The state after the strategy's post_step, without an optimizer's."""
  post_step = jax.jit(lambda s: net.strategy.post_step(s, net.forward))
  return post_step(net.state if state is None else state)


def initialized(net, variables=None):
  given = {'params': net.state.params, 'batch_stats': net.state.batch_stats}
  initialize = jax.jit(lambda v: net.strategy.initialize(v, net.forward))
  return initialize(given if variables is None else variables)


def fields(strategy, **options):
  return {f'strategy.{strategy}.{k}': v for k, v in options.items()}


def assert_normalized(sites, which='input'):
  for values in sites.values():
    moments = values.moments(which)
    np.testing.assert_allclose(moments.mean, 0, atol=1e-5)
    np.testing.assert_allclose(moments.var, 1, rtol=1e-3)


# none


def test_none_is_the_plain_network():
  """Planted: a bias that is left out, an Affine at the sites."""
  net = tiny.net(['none'])
  wanted = mlp(net.state.params, net.image)
  np.testing.assert_allclose(run(net).logits, wanted, rtol=1e-4, atol=1e-5)
  assert sorted(net.state.params) == ['dense_0', 'dense_1', 'head']
  assert all('bias' in layer for layer in net.state.params.values())
  assert net.strategy == base.Strategy()


# activation_penalty

FORMS = {
  'moments': lambda m, v: m**2 + (v - 1) ** 2,
  'kl': lambda m, v: (m**2 + v - 1 - np.log(v + 1e-5)) / 2,
  'log_variance': lambda m, v: m**2 + np.log(v + 1e-5) ** 2,
}


@pytest.mark.parametrize('form', FORMS)
def test_activation_penalty_is_that_of_numpy(form):
  """Planted: a sum over units, log var for its square, the second moment."""
  given = fields('activation_penalty', weight=0.5, form=form)
  net = tiny.net(['activation_penalty'], **given)
  arrived = arriving(net.state.params, net.image)
  terms = [FORMS[form](h.mean(0), h.var(0)).mean() for h in arrived]
  found = net.strategy.penalty(net.state.params, run(net).sites)
  np.testing.assert_allclose(found, 0.5 * sum(terms), rtol=1e-4)


def test_activation_penalty_of_weight_0_is_none():
  """Planted: an `affine` that is not read."""
  given = fields('activation_penalty', weight=0.0, affine=False)
  found = walk(tiny.run(['activation_penalty'], **given))
  tiny.assert_trees_close(found.params, walk(tiny.run(['none'])).params)


def walk(run, steps=3):
  state = tiny.start(run)
  for number in range(steps):
    state, _ = run.train_step(state, tiny.batch(number))
  return state


def test_activation_penalty_pulls_units_towards_normalized():
  """Towards, not there: the textbook says that it stays imperfect.

  Planted: a penalty outside of the gradient.
  """
  found = []
  for weight in (0.0, 10.0):
    given = fields('activation_penalty', weight=weight)
    given |= {'optimizer.name': 'adam', 'optimizer.learning_rate': 0.02}
    member = tiny.run(['activation_penalty'], **given)
    _, metrics = member.train_step(walk(member, 40), tiny.batch())
    found.append(metrics['site/distance'].max())
  assert 0.01 < found[1] < 0.5 * found[0]


# renormalize


def renormalized(params, image):
  """Layer by layer, bottom-up, each edit seen by the layers above."""
  params = jax.tree.map(np.float64, params)
  for i in range(2):
    h = arriving(params, image)[i]
    layer = params[f'dense_{i}']
    layer['kernel'] = layer['kernel'] / h.std(0)
    layer['bias'] = (layer['bias'] - h.mean(0)) / h.std(0)
  return params


def test_renormalize_is_that_of_numpy():
  """Planted: all layers edited from the statistics of one plain pass."""
  net = tiny.net(['renormalize'])
  wanted = renormalized(net.state.params, net.image)
  tiny.assert_trees_close(edit(net).params, wanted)
  tiny.assert_trees_close(initialized(net)['params'], wanted)


@pytest.mark.parametrize('affine', [True, False])
def test_renormalize_leaves_mean_0_and_variance_1(affine):
  net = tiny.net(['renormalize'], **fields('renormalize', affine=affine))
  assert_normalized(run(net, edit(net).params).sites)


def test_renormalizing_twice_is_renormalizing_once():
  """Planted: a mean that is divided by the deviation twice."""
  net = tiny.net(['renormalize'])
  once = edit(net)
  tiny.assert_trees_close(edit(net, once).params, once.params)


def test_renormalize_preserves_the_function_where_told_to():
  """Planted: a bias that absorbs the mean without the scale.

  On every batch, not only on the one that the statistics are of.
  """
  given = fields('renormalize', preserve_function=True)
  net, other = (
    tiny.net(['renormalize'], tiny.batch(i), **given) for i in (0, 1)
  )
  new = edit(net).params
  for each in (net, other):
    before, after = run(each, net.state.params), run(each, new)
    np.testing.assert_allclose(after.logits, before.logits, atol=1e-5)
  assert_normalized(run(net, new).sites)


def test_renormalize_without_it_changes_the_function():
  net = tiny.net(['renormalize'])
  before, after = run(net), run(net, edit(net).params)
  assert not np.allclose(before.logits, after.logits, atol=0.1)


def test_renormalize_acts_after_each_kth_step():
  """Planted: a remainder of 1."""
  net = tiny.net(['renormalize'], **fields('renormalize', every=3))
  for step, edits in ((1, False), (2, False), (3, True), (4, False), (6, True)):
    new = edit(net, net.state.replace(step=np.int32(step))).params
    kernels = (p['dense_0']['kernel'] for p in (new, net.state.params))
    assert np.array_equal(*kernels) != edits


def test_renormalize_leaves_the_weights_of_a_unit_that_never_varies():
  """Planted: a division by its deviation, of 0 or of rounding errors.

  Its mean is gone all the same.
  """
  net = tiny.net(['renormalize'], **{'model.activation': 'relu'})
  kernel = net.state.params['dense_0']['kernel']
  still = np.array(kernel)
  still[:, 2] = 0
  off = np.full(8, -100, np.float32)  # then nothing comes out of the layer
  cut = np.float32(0.1 * np.arange(1, 9))
  start = net.state.params
  params = trees.update(start, 'dense_0', kernel=still)
  new = edit(net, net.state.replace(params=params)).params
  np.testing.assert_allclose(new['dense_0']['bias'][2], 0, atol=1e-6)
  assert not new['dense_0']['kernel'][:, 2].any()
  params = trees.update(start, 'site_0/norm', bias=off, scale=0 * off)
  params = trees.update(params, 'dense_1', bias=cut)
  new = edit(net, net.state.replace(params=params)).params
  found, wanted = (p['dense_1']['kernel'] for p in (new, params))
  np.testing.assert_array_equal(found, wanted)
  np.testing.assert_allclose(new['dense_1']['bias'], 0, atol=1e-6)


def test_renormalize_looks_at_examples_that_count():
  """Planted: moments without the mask."""
  mask = np.arange(tiny.BATCH) < 10
  masked = tiny.net(['renormalize'], {**tiny.batch(), 'mask': mask})
  few = tiny.net(['renormalize'], {k: v[:10] for k, v in tiny.batch().items()})
  tiny.assert_trees_close(edit(masked).params, edit(few).params)


@pytest.mark.parametrize(
  'chained, given, words',
  [
    (['renormalize'], {'model.site': 'post_activation'}, 'no linear layer'),
    (['batch_norm', 'renormalize'], {}, 'dense_0 has no bias'),
    (
      ['renormalize'],
      fields('renormalize', preserve_function=True, affine=False),
      'preserve_function: True with affine=False',
    ),
  ],
)
def test_renormalize_refuses_what_it_cannot_edit(chained, given, words):
  with pytest.raises(UserError, match=words):
    edit(tiny.net(chained, **given))


# batch_norm


def test_batch_norm_is_that_of_numpy():
  """Planted: epsilon outside of the root."""
  net = tiny.net(['batch_norm'], **fields('batch_norm', epsilon=0.1))

  def at_site(_, h):
    return (h - h.mean(0)) / np.sqrt(h.var(0) + 0.1)

  wanted = mlp(net.state.params, net.image, at_site)
  np.testing.assert_allclose(run(net).logits, wanted, rtol=1e-4, atol=1e-5)


def test_batch_norm_leaves_mean_0_and_variance_1():
  assert_normalized(run(tiny.net(['batch_norm'])).sites, 'normalized')


@pytest.mark.parametrize(
  'average, after_two',
  [
    ('ema', lambda start, a, b: 0.81 * start + 0.09 * a + 0.1 * b),
    ('debiased', lambda start, a, b: (0.09 * a + 0.1 * b) / 0.19),
    ('cumulative', lambda start, a, b: (a + b) / 2),
  ],
)
def test_batch_norm_averages_its_statistics(average, after_two):
  """Planted: the policy not handed to the layer."""
  given = fields('batch_norm', average=average, momentum=0.9)
  nets = [tiny.net(['batch_norm'], tiny.batch(i), **given) for i in (0, 1)]
  params, stats = nets[0].state.params, nets[0].state.batch_stats
  for net in nets:
    stats = run(net, params, stats).batch_stats
  a, b = (arriving(params, net.image)[0] for net in nets)
  found = stats['site_0']['norm']
  wanted = after_two(0.0, a.mean(0), b.mean(0))
  np.testing.assert_allclose(found['mean'], wanted, rtol=1e-4, atol=1e-5)
  wanted = after_two(1.0, a.var(0), b.var(0))
  np.testing.assert_allclose(found['var'], wanted, rtol=1e-4)


def test_batch_norm_evaluates_with_its_running_statistics():
  """Planted: `train` not handed on to the sites."""
  net = tiny.net(['batch_norm'])
  stats = run(net).batch_stats

  def at_site(i, h):
    known = stats[f'site_{i}']['norm']
    return (h - known['mean']) / np.sqrt(np.float64(known['var']) + 1e-5)

  image = net.image + 1.0
  other = {**tiny.batch(), 'image': image * tiny.spec().std + tiny.spec().mean}
  out = run(tiny.net(['batch_norm'], other), net.state.params, stats, False)
  wanted = mlp(net.state.params, image, at_site)
  np.testing.assert_allclose(out.logits, wanted, rtol=1e-3, atol=1e-4)
  tiny.assert_trees_equal(out.batch_stats, stats)


def gradient(net, chained_to=None):
  """Of the cross-entropy, with respect to the parameters."""
  label = tiny.batch()['label']

  def loss(params):
    logits = net.forward(params, net.state.batch_stats).logits
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    return losses.mean()

  return jax.jit(jax.grad(loss))(net.state.params)


def slope(net, path, direction):
  """Of the loss along a direction of one kernel, by central differences."""
  label = tiny.batch()['label']

  def loss(step):
    params = jax.tree.map(np.float64, net.state.params)
    params[path]['kernel'] = params[path]['kernel'] + step * direction

    def at_site(_, h):
      return (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5)

    logits = mlp(params, net.image, at_site)
    logits = logits - logits.max(1, keepdims=True)
    picked = logits[np.arange(len(label)), label]
    return np.mean(np.log(np.exp(logits).sum(1)) - picked)

  return (loss(1e-5) - loss(-1e-5)) / 2e-5


@pytest.mark.parametrize('stop', ['none', 'mean', 'var', 'both'])
def test_only_the_full_gradient_is_that_of_the_loss(stop):
  """Planted: the option not handed to the layer."""
  net = tiny.net(['batch_norm'], **fields('batch_norm', stop_gradient=stop))
  direction = np.random.default_rng(1).normal(size=(8, 8))
  found = np.sum(gradient(net)['dense_1']['kernel'] * direction)
  wanted = slope(net, 'dense_1', direction)
  assert np.isclose(found, wanted, rtol=1e-3) == (stop == 'none')


def test_the_scale_of_weights_does_not_matter_to_batch_norm():
  """Ioffe & Szegedy 2015, section 3.3; the gradient is orthogonal to W_j."""
  net = tiny.net(['batch_norm'], **fields('batch_norm', epsilon=0.0))
  kernel = net.state.params['dense_0']['kernel']
  scaled = trees.update(net.state.params, 'dense_0', kernel=7 * kernel)
  logits = run(net).logits, run(net, scaled).logits
  np.testing.assert_allclose(*logits, rtol=1e-3, atol=1e-4)
  found = gradient(net)['dense_0']['kernel']
  cosines = np.sum(found * kernel, 0) / np.linalg.norm(found, axis=0)
  np.testing.assert_allclose(
    cosines / np.linalg.norm(kernel, axis=0), 0, atol=1e-5
  )


def test_batch_norm_without_affine_has_no_parameters_at_sites():
  net = tiny.net(['batch_norm'], **fields('batch_norm', affine=False))
  assert sorted(net.state.params) == ['dense_0', 'dense_1', 'head']
  assert sorted(net.state.params['dense_0']) == ['kernel']


# adaptive_grad_clip


def clipped(grads, params, clipping, epsilon):
  """Equation 3, for kernels (in, out) whose units are columns."""
  found = jax.tree.map(np.float64, grads)
  for layer in ('dense_0', 'dense_1'):
    for name, axis in (('kernel', 0), ('bias', None)):
      norm = np.linalg.norm(found[layer][name], axis=axis)
      size = np.linalg.norm(params[layer][name], axis=axis)
      limit = clipping * np.maximum(size, epsilon)
      found[layer][name] *= np.minimum(1, limit / norm)
  return found


def clip(net):
  grads = jax.tree.map(lambda x: 5 * jnp.sin(9 * x), net.state.params)
  rule = net.strategy.gradient
  return grads, rule.update(grads, rule.init(grads), net.state.params)[0]


@pytest.mark.parametrize('clipping, epsilon', [(0.01, 1e-3), (0.9, 2.0)])
def test_adaptive_grad_clip_is_that_of_numpy(clipping, epsilon):
  """Planted: norms of whole kernels, a head that is clipped."""
  given = fields('adaptive_grad_clip', clipping=clipping, epsilon=epsilon)
  net = tiny.net(['adaptive_grad_clip'], **given)
  grads, found = clip(net)
  wanted = clipped(grads, net.state.params, clipping, epsilon)
  tiny.assert_trees_close(found, wanted)
  assert np.array_equal(found['head']['kernel'], grads['head']['kernel'])


def test_adaptive_grad_clip_bounds_each_unit():
  """Its paper's property: |G_i| <= clipping max(|W_i|, epsilon)."""
  net = tiny.net(['adaptive_grad_clip'])
  _, found = clip(net)
  for layer in ('dense_0', 'dense_1'):
    norms = np.linalg.norm(found[layer]['kernel'], axis=0)
    sizes = np.linalg.norm(net.state.params[layer]['kernel'], axis=0)
    np.testing.assert_allclose(norms / sizes, 0.01, rtol=1e-4)


def test_adaptive_grad_clip_without_a_limit_is_none():
  net = tiny.net(
    ['adaptive_grad_clip'], **fields('adaptive_grad_clip', clipping=1e9)
  )
  grads, found = clip(net)
  tiny.assert_trees_equal(found, grads)


# lsuv


def orthonormalized():
  """A network whose biases are 0, as they are at the start, and what it got."""
  net = tiny.net(['lsuv'])
  start = {
    name: {**layer, 'bias': 0 * layer['bias']}
    for name, layer in net.state.params.items()
  }
  return net, start, initialized(net, {'params': start})['params']


def test_lsuv_makes_the_variance_of_each_site_1():
  """Algorithm 1. Planted: scaling by what the plain network does."""
  net, _, params = orthonormalized()
  for h in arriving(params, net.image):
    np.testing.assert_allclose(h.var(), 1, rtol=1e-4)


def test_lsuv_is_that_of_numpy():
  """From the orthonormal kernels on: divide, bottom-up, by the deviation."""
  net, _, params = orthonormalized()
  wanted = jax.tree.map(np.float64, params)
  for i in range(2):  # any scale to start from will do
    wanted[f'dense_{i}']['kernel'] *= 3
  for i in range(2):
    wanted[f'dense_{i}']['kernel'] /= arriving(wanted, net.image)[i].std()
  tiny.assert_trees_close(params, wanted, rtol=1e-3)


def test_lsuv_starts_from_orthonormal_kernels():
  _, before, after = orthonormalized()
  for layer in ('dense_0', 'dense_1'):
    kernel = np.float64(after[layer]['kernel'])
    product = kernel @ kernel.T
    wanted = np.eye(len(kernel)) * product[0, 0]
    np.testing.assert_allclose(product, wanted, atol=1e-5 * product[0, 0])
    assert np.array_equal(after[layer]['bias'], before[layer]['bias'])
  tiny.assert_trees_equal(after['head'], before['head'])
  kernels = (after[layer]['kernel'][:6] for layer in ('dense_0', 'dense_1'))
  assert not np.allclose(*(k / np.linalg.norm(k) for k in kernels))


# the registry and the chain


def test_every_file_is_a_strategy_with_defaults():
  assert {'none', 'batch_norm', 'lsuv'} <= set(strategies.names())
  assert 'base' not in strategies.names()
  for name in strategies.names():
    built = strategies.build((name,), {name: strategies.defaults(name)})
    assert isinstance(built, base.Strategy)
    searched = strategies.search(name)
    assert set(searched) <= set(strategies.defaults(name))
    assert all(0 < low < high for low, high in searched.values())


def test_a_file_in_the_folder_is_a_strategy(tmp_path, monkeypatch):
  """No other edit: it is found, built, has a config and is under contract."""
  (tmp_path / 'halved.py').write_text(
    'import optax\n'
    'from bn_jax.strategies.base import Strategy\n'
    'def halved(factor: float = 0.5) -> Strategy:\n'
    '  """G <- factor G."""\n'
    '  return Strategy(gradient=optax.scale(factor))\n'
  )
  paths = [*strategies.__path__, str(tmp_path)]
  monkeypatch.setattr(strategies, '__path__', paths)
  assert 'halved' in strategies.names()
  made = tiny.config(['none', 'halved'])
  assert made.strategies == ('none', 'halved')
  assert made.strategy.halved.factor == 0.5
  rule = tiny.net(['none', 'halved']).strategy.gradient
  assert rule.update(np.ones(2), rule.init(np.ones(2)))[0].tolist() == [0.5] * 2


@pytest.mark.parametrize(
  'names, words',
  [
    (('batchnorm',), "strategy: 'batchnorm'; there are .*batch_norm"),
    (('base',), "strategy: 'base'"),
    (('lsuv', 'none', 'lsuv'), "'lsuv' stands twice"),
  ],
)
def test_names_that_cannot_be_built(names, words):
  with pytest.raises(UserError, match=words):
    strategies.build(names, {})


def test_a_chain_acts_in_its_order():
  """Planted: a chain that goes backwards in any of the five places."""
  trail = lambda name: base.Strategy(  # noqa: E731
    layers=lambda built: (*built, name),
    initialize=lambda variables, _: (*variables, name),
    penalty=lambda params, _: params[name],
    gradient=optax.stateless(lambda grads, _: (*grads, name)),
    post_step=lambda state, _: (*state, name),
  )
  both = base.chain(trail('a'), base.Strategy(), trail('b'))
  assert both.layers(()) == ('a', 'b')
  assert both.initialize((), None) == ('a', 'b')
  assert both.post_step((), None) == ('a', 'b')
  assert both.gradient.update((), both.gradient.init(()))[0] == ('a', 'b')
  assert both.penalty({'a': 1, 'b': 20}, None) == 21


def test_a_chain_of_no_ops_is_known_to_be_one():
  """What records `undone` and `penalty` asks for it by identity."""
  built = base.chain(base.Strategy(), strategies.build(('lsuv',), {}))
  assert built.penalty is base.no_penalty
  assert built.post_step is base.no_edit
  assert built.initialize is not base.same_variables


def has_no_rule_of_its_own(name):
  return strategies.build((name,), {}).initialize is base.same_variables


@pytest.mark.parametrize(
  'name', [n for n in strategies.names() if has_no_rule_of_its_own(n)]
)
def test_initial_kernels_are_shared(name):
  """Fairness: strategies start from the same kernels for a seed."""
  kernels = []
  for case in (name, 'none'):
    params = tiny.start(tiny.run([case]), seed=3).params
    leaves = zip(trees.names(params), jax.tree.leaves(params), strict=True)
    kernels.append({k: v for k, v in leaves if trees.is_kernel(k)})
  tiny.assert_trees_equal(*kernels)
