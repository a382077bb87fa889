"""BatchNorm, a drop-in for flax.linen.BatchNorm."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.linen import dtypes

from bn_jax import functional
from bn_jax.functional import axes as axes_lib
from bn_jax.layers.site import Site


class BatchNorm(nn.Module):
  """Batch normalization with every field and argument of flax.linen.BatchNorm.

  Same meaning, defaults, variables and results; a checkpoint of one loads into
  the other. Where it differs, on purpose:

  - The variance is always exact (two passes around the mean), so that large
    means do no harm; `use_fast_variance` is accepted and has no effect.
  - Under `axis_name` shards weigh by what their mask counts.
  - A feature (or batch) that is masked out whole gives finite output, no
    gradient, and leaves its running statistics as they were.
  - For the backward pass only x is kept, in its own dtype.
  - With force_float32_reductions=False the statistics are stored in the
    narrow dtype but still computed in float32.
  - Complex running statistics stay complex at evaluation, with
    force_float32_reductions=False, too.
  - `epsilon` and `momentum` may be traced.

  Attributes:
    use_running_average: normalize by the statistics in 'batch_stats' rather
      than by the batch's own.
    axis: the feature axis of the input, or several.
    momentum: the decay of the running statistics: running <- momentum *
      running + (1 - momentum) * batch's.
    epsilon: added to the variance.
    dtype: of the result; by default the input's and the parameters' promoted.
    param_dtype: of the parameters.
    use_bias: add a learned bias.
    use_scale: multiply by a learned scale.
    bias_init: initializer of the bias.
    scale_init: initializer of the scale.
    axis_name: named axis (of pmap, shard_map, vmap) to take the statistics
      over. Under jit with a sharded batch leave it None: the statistics are
      those of the global batch already.
    axis_index_groups: groups of indices of that axis.
    use_fast_variance: without effect, see above.
    force_float32_reductions: see above.
    stop_gradient: any of 'mean', 'var': constants in the gradient.
    average: 'ema'; 'debiased', without the weight of the initial 0 and 1;
      'cumulative', the mean over all batches. The latter two add a variable
      `count`, of batches, to 'batch_stats'; statistics that come without
      one, from Flax's layer, say, are replaced by the first batch's.
    unbiased: the running variance is of n - 1, as PyTorch's.
  """

  use_running_average: bool | None = None
  axis: Any = -1
  momentum: Any = 0.99
  epsilon: Any = 1e-5
  dtype: Any = None
  param_dtype: Any = jnp.float32
  use_bias: bool = True
  use_scale: bool = True
  bias_init: Callable = nn.initializers.zeros
  scale_init: Callable = nn.initializers.ones
  axis_name: Any = None
  axis_index_groups: Any = None
  use_fast_variance: bool = True
  force_float32_reductions: bool = True
  stop_gradient: tuple = ()
  average: str = 'ema'
  unbiased: bool = False

  @nn.compact
  def __call__(self, x, use_running_average=None, *, mask=None):
    """Normalizes x; updates 'batch_stats' unless initializing.

    Args:
      x: an array, real or complex floating point, any rank >= 1.
      use_running_average: the attribute, given here instead.
      mask: booleans of a shape that broadcasts to x's: the positions that the
        statistics are taken over. A NaN or an infinity elsewhere counts as 0,
        with running statistics, too.

    Returns:
      The normalized array, of x's shape. At a `Site`, if 'intermediates' is
      mutable, the array before scale and bias is sown there as `normalized`.
    """
    use_running_average = nn.merge_param(
      'use_running_average', self.use_running_average, use_running_average
    )
    x = jnp.asarray(x)
    shape = [x.shape[a] for a in axes_lib.feature_axes(x.ndim, self.axis)]
    running = self._running(shape, use_running_average)
    scale, bias = self._parameters(shape)
    given = [a for a in (x, scale, bias) if a is not None]
    dtype = dtypes.canonicalize_dtype(*given, dtype=self.dtype)
    run = self._by_running if use_running_average else self._by_batch
    run = functools.partial(run, x, running, mask=mask, dtype=dtype)
    y, found = run(scale, bias)
    if self.is_initializing():
      return y
    if found is not None:
      self._update(running, found, x.dtype)
    # Elsewhere a net's variables are those of Flax's, whatever is mutable.
    if isinstance(self.parent, Site) and self.is_mutable_collection(
      'intermediates'
    ):
      self.sow('intermediates', 'normalized', run(None, None)[0])
    return y

  def _running(self, shape, use_running_average):
    dtype = jnp.float32 if self.force_float32_reductions else self.param_dtype
    inits = {'mean': jnp.zeros, 'var': jnp.ones}
    # Evaluation does without: statistics from elsewhere have no count.
    if self.average != 'ema' and (
      self.is_initializing() or not use_running_average
    ):
      inits['count'] = jnp.zeros
    return {
      name: self.variable('batch_stats', name, init, shape, dtype)
      for name, init in inits.items()
    }

  def _parameters(self, shape):
    def make(name, init, wanted):
      return self.param(name, init, shape, self.param_dtype) if wanted else None

    scale = make('scale', self.scale_init, self.use_scale)
    return scale, make('bias', self.bias_init, self.use_bias)

  def _by_running(self, x, running, scale, bias, *, mask, dtype):
    if mask is not None:
      x = functional.without_padding(x, mask)
    y = functional.normalize(
      x,
      running['mean'].value,
      running['var'].value,
      scale,
      bias,
      axis=self.axis,
      epsilon=self.epsilon,
      dtype=dtype,
    )
    return y, None

  def _by_batch(self, x, running, scale, bias, *, mask, dtype):
    del running
    # While initializing, the named axis need not exist.
    return functional.batch_norm(
      x,
      scale,
      bias,
      axis=self.axis,
      epsilon=self.epsilon,
      mask=mask,
      axis_name=None if self.is_initializing() else self.axis_name,
      axis_index_groups=self.axis_index_groups,
      stop_gradient=self.stop_gradient,
      dtype=dtype,
      stats_dtype=self.dtype,
    )

  def _update(self, running, found, x_dtype):
    mean, var, count = found
    if self.unbiased:
      var = functional.unbiased_variance(var, count)
    present = count > 0
    batches = None if self.average == 'ema' else running['count'].value
    for name, value in (('mean', mean), ('var', var)):
      if not self.force_float32_reductions:
        narrow = x_dtype if self.dtype is None else self.dtype
        if not jnp.issubdtype(narrow, jnp.inexact):
          narrow = jnp.float32
        value = value.astype(
          narrow if name == 'mean' else jnp.finfo(narrow).dtype
        )
      running[name].value = functional.update_running(
        running[name].value,
        value,
        self.momentum,
        count=batches,
        present=present,
        average=self.average,
      )
    if batches is not None:
      running['count'].value = batches + present
