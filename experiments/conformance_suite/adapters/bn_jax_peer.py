# ruff: noqa: D102 (base.Peer says what the methods do)
"""bn_jax.BatchNorm."""

from importlib import metadata

import bn_jax
from experiments.conformance_suite.adapters import flax_linen_peer


class BnJax(flax_linen_peer.FlaxLinen):
  """The same calls as Flax's, and two fields more."""

  name = 'bn_jax'
  supports = ('average', 'unbiased')
  snippet = """\
import bn_jax, jax
layer = bn_jax.BatchNorm(use_running_average=False)
variables = layer.init(jax.random.key(0), x)
y, _ = layer.apply(variables, x, mutable=['batch_stats'])"""

  def version(self):
    return metadata.version('bn_jax') if _installed() else bn_jax.__version__

  def module(self, spec):
    more = {'average': spec.average, 'unbiased': spec.unbiased}
    more = {k: v for k, v in more.items() if v is not None}
    return bn_jax.BatchNorm(**self.fields(spec), **more)


def _installed():
  try:
    return bool(metadata.version('bn_jax'))
  except metadata.PackageNotFoundError:
    return False


PEER = BnJax()
