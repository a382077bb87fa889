# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Add a strategy
#
# Write one in twenty lines, train it in well under a minute, and see it beside
# the others. The example is layer normalization (Ba et al. 2016,
# arXiv 1607.06450): each example's units are normalized over the layer, where
# batch norm normalizes each unit over the batch.

# %%
import os
import sys

if not os.path.isdir('bn_jax'):
  os.chdir('..')  # to the root of the checkout
sys.path.insert(0, os.getcwd())
# A finished study; set it to your own, here or in the environment.
STUDY = os.environ.get('BN_JAX_STUDY', 'runs/compare')
SCRATCH = os.environ.get('BN_JAX_SCRATCH', 'runs/notebook')
if not os.path.isdir(STUDY):
  sys.exit(f'{STUDY} is not there: `make compare` makes it in a few minutes')

# %%
# %matplotlib inline
import pathlib
import shutil

import pandas as pd

from bn_jax import config as config_lib
from bn_jax import devices, plots, report, results, strategies
from bn_jax.study import Study

devices.set_up()

# %% [markdown]
# ## Write it
#
# A strategy is one file with a function of the file's name. It may act in five
# places; this one acts in the first, `layers`: it puts a module at every site.
# The function's arguments are its config, and it needs no registration: here
# the file lies in a folder of its own, which is added to those that are looked
# through. Moved to `bn_jax/strategies/`, it is everybody's, and every contract
# test runs over it.

# %%
SOURCE = '''
"""Layer norm: each example is normalized over the units of a layer."""

import functools

import flax.linen as nn
import jax.numpy as jnp

from bn_jax.strategies.base import Strategy


class LayerNorm(nn.Module):
  """(x - mean) / std over the last axis, then a scale and bias per unit."""

  epsilon: float

  @nn.compact
  def __call__(self, x, use_running_average, mask=None):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    normalized = (x - mean) / jnp.sqrt(var + self.epsilon)
    self.sow('intermediates', 'normalized', normalized)
    scale = self.param('scale', nn.initializers.ones, x.shape[-1:])
    bias = self.param('bias', nn.initializers.zeros, x.shape[-1:])
    return scale * normalized + bias


def my_layer_norm(epsilon: float = 1e-5) -> Strategy:
  """Ba et al. 2016, arXiv 1607.06450, equation 3."""
  norm = functools.partial(LayerNorm, epsilon=epsilon)
  return Strategy(layers=lambda built: built._replace(norm=norm))
'''

folder = pathlib.Path(SCRATCH, 'strategies')
folder.mkdir(parents=True, exist_ok=True)
(folder / 'my_layer_norm.py').write_text(SOURCE)
strategies.__path__.append(str(folder.resolve()))
strategies.names()

# %% [markdown]
# ## Train it
#
# On the network, data and search space of the study, with a smaller budget: 4
# tuning trials and 3 fresh seeds, to be done soon.

# %%
study = report.read(STUDY)
first = study.final.run.iloc[0]
recorded = results.read_json(f'{STUDY}/runs/{first}/config.json')


def get_config(names):
  """The study's config for another strategy."""
  config = config_lib.default(names, recorded['model']['name'])
  own = ('strategies', 'strategy')
  config.update({k: v for k, v in recorded.items() if k not in own})
  return config


settings = config_lib.study()
settings.search = study.settings['search']
settings.strategies = ('my_layer_norm',)
settings.trials, settings.seeds, settings.timing_rounds = 4, 3, 0

MINE = f'{SCRATCH}/my_study'
shutil.rmtree(MINE, ignore_errors=True)  # of a version before
mine = Study(get_config, settings, MINE)
mine.claim('notebooks/add_a_strategy.ipynb')
mine.run()
report.read(MINE).choices[0]['hparams']

# %% [markdown]
# ## See it in the comparison
#
# The others had 10 trials and 10 seeds, so this is a sketch. The fair
# comparison is one command, once the file is in `bn_jax/strategies/`:
#
#     python -m experiments.compare --config=configs/mnist1d_mlp.py \
#         --workdir=runs/mine --strategies=none,batch_norm,my_layer_norm

# %%
both = pd.concat([results.load(STUDY), results.load(MINE)], ignore_index=True)
final = both[both.phase == 'final']
summaries = {**results.summaries(STUDY), **results.summaries(MINE)}
shown = ['seeds', 'accuracy', 'accuracy_low', 'accuracy_high', 'steps']
found = report.table(final, summaries, target=study.target, chance=study.chance)
found[[*shown, 'distance', 'parameters']].round(3)

# %%
plots.curves(final, 'validation/accuracy')

# %%
plots.along_depth(final)

# %%
plots.sensitivity(both[both.phase == 'tune'])
