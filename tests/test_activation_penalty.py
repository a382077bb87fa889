"""The penalty against NumPy, its limit, what the textbook says of it."""

import numpy as np
import pytest
import tiny

pytestmark = pytest.mark.usefixtures('compiles_fast')


FORMS = {
  'moments': lambda m, v: m**2 + (v - 1) ** 2,
  'kl': lambda m, v: (m**2 + v - 1 - np.log(v + 1e-5)) / 2,
  'log_variance': lambda m, v: m**2 + np.log(v + 1e-5) ** 2,
}


@pytest.mark.parametrize('form', FORMS)
def test_activation_penalty_is_that_of_numpy(form):
  """Planted: a sum over units, log var for its square, the second moment."""
  given = tiny.options('activation_penalty', weight=0.5, form=form)
  net = tiny.net(['activation_penalty'], **given)
  arrived = tiny.arriving(net.state.params, net.image)
  terms = [FORMS[form](h.mean(0), h.var(0)).mean() for h in arrived]
  found = net.strategy.penalty(net.state.params, tiny.apply(net).sites)
  np.testing.assert_allclose(found, 0.5 * sum(terms), rtol=1e-4)


def test_activation_penalty_of_weight_0_is_none():
  """Planted: an `affine` that is not read."""
  given = tiny.options('activation_penalty', weight=0.0, affine=False)
  found = tiny.walk(tiny.run(['activation_penalty'], **given))
  tiny.assert_trees_close(found.params, tiny.walk(tiny.run(['none'])).params)


def test_activation_penalty_pulls_units_towards_normalized():
  """Towards, not there: the textbook says that it stays imperfect.

  Planted: a penalty outside of the gradient.
  """
  found = []
  for weight in (0.0, 10.0):
    given = tiny.options('activation_penalty', weight=weight)
    given |= {'optimizer.name': 'adam', 'optimizer.learning_rate': 0.02}
    member = tiny.run(['activation_penalty'], **given)
    _, metrics = member.train_step(tiny.walk(member, 40), tiny.batch())
    found.append(metrics['site/distance'].max())
  assert 0.01 < found[1] < 0.5 * found[0]
