"""The folder of strategies, chains, and `none`.

What holds for all of them is in tests/test_contracts.py; what each one does is
in a file of its own.
"""

import jax
import numpy as np
import optax
import pytest
import tiny

from bn_jax import strategies, trees
from bn_jax.errors import UserError
from bn_jax.strategies import base

pytestmark = pytest.mark.usefixtures('compiles_fast')


def test_none_is_the_plain_network():
  """Planted: a bias that is left out, an Affine at the sites."""
  net = tiny.net(['none'])
  wanted = tiny.mlp(net.state.params, net.image)
  found = tiny.apply(net).logits
  np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
  assert sorted(net.state.params) == ['dense_0', 'dense_1', 'head']
  assert all('bias' in layer for layer in net.state.params.values())
  assert net.strategy == base.Strategy()


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


def test_an_argument_is_of_the_kind_that_its_file_says(tmp_path, monkeypatch):
  """Fault: `weight: float = 1` as a whole number, for 0.5 to be refused."""
  (tmp_path / 'whole.py').write_text(
    'def whole(weight: float = 1, every: int = 2): pass\n'
  )
  (tmp_path / 'bare.py').write_text('def bare(weight: float): pass\n')
  paths = [*strategies.__path__, str(tmp_path)]
  monkeypatch.setattr(strategies, '__path__', paths)
  found = strategies.defaults('whole')
  assert found == {'weight': 1, 'every': 2}
  assert [type(v) for v in found.values()] == [float, int]
  with pytest.raises(UserError, match=r'strategy.bare.weight: has no default'):
    strategies.defaults('bare')


@pytest.mark.parametrize(
  'names, words',
  [
    (('batchnorm',), "strategy: 'batchnorm'; .*batch_norm"),
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


@pytest.mark.parametrize('norm', ['batch_norm', 'decorrelated_batch_norm'])
def test_a_penalty_leaves_what_normalizes_at_the_site(norm):
  """In either order; it is of what arrives, which nothing else keeps normal.

  Planted: the bare scale and bias set whatever is there; moments of what was
  normalized, which are 0 and 1 as they are.
  """
  nets = [
    tiny.net(chained)
    for chained in (
      [norm],
      [norm, 'activation_penalty'],
      ['activation_penalty', norm],
    )
  ]
  seen = [tiny.apply(net) for net in nets]
  alone, *both = nets
  for net, one in zip(both, seen[1:], strict=True):
    tiny.assert_trees_equal(net.state.batch_stats, alone.state.batch_stats)
    np.testing.assert_array_equal(one.logits, seen[0].logits)
    assert net.strategy.penalty(net.state.params, one.sites) > 1e-3


@pytest.mark.parametrize('order', [1, -1])
def test_two_that_normalize_are_refused(order):
  """Planted: the later one takes the place of the other."""
  chained = ['batch_norm', 'decorrelated_batch_norm'][::order]
  with pytest.raises(UserError, match=r'where .*BatchNorm normalizes already'):
    tiny.net(chained)


def test_a_scale_and_bias_are_there_if_any_of_a_chain_wants_them():
  """Planted: the last one's word is taken."""
  options = tiny.options('renormalize', affine=False)
  net = tiny.net(['activation_penalty', 'renormalize'], **options)
  assert set(net.state.params['site_0']['norm']) == {'scale', 'bias'}
  options |= tiny.options('activation_penalty', affine=False)
  net = tiny.net(['activation_penalty', 'renormalize'], **options)
  assert 'site_0' not in net.state.params


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
