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
# # Inside a unit
#
# What arrives at one unit's nonlinearity while the network trains: its
# percentiles over the batch, its mean and its variance, under each strategy.
# Figure 1 (b, c) of Ioffe & Szegedy 2015 (arXiv 1502.03167) is such a picture.
#
# A study chose the learning rates. Each strategy is trained once more with
# them (one seed, well under a minute for all), now with `log.percentiles`.

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
from bn_jax import config as config_lib
from bn_jax import devices, plots, report, results, train

devices.set_up()

# %%
study = report.read(STUDY)
hparams = {c['strategy']: c['hparams'] for c in study.choices}
for strategy, chosen in hparams.items():
  print(strategy, chosen)


# %%
def config_of(strategy):
  """The config that the study had for a strategy."""
  run = study.final[study.final.strategy == strategy].run.iloc[0]
  found = results.read_json(f'{STUDY}/runs/{run}/config.json')
  config = config_lib.default(strategy, found['model']['name'])
  del found['strategies']
  config.update(found)
  return config


for strategy, chosen in hparams.items():
  config = config_of(strategy)
  config.log.percentiles = True
  config.log.every = max(1, config.log.every // 5)
  folder = f'{SCRATCH}/inside_a_unit/{strategy}'
  train.fit(config, [{'seed': 0, 'hparams': chosen}], folder)

df = results.load(f'{SCRATCH}/inside_a_unit')
sites = plots.sites.site_names(df, 'unit_mean')
top = sites[-1]
sites

# %% [markdown]
# ## Percentiles
#
# The 15th, 50th and 85th percentile of one unit's input in the last hidden
# layer, over the batch. Where the band is a thread, the unit says the same of
# every example; where it wanders, the layer above has to follow it.

# %%
plots.percentiles(df, top)

# %% [markdown]
# The same in the first hidden layer:

# %%
plots.percentiles(df, sites[0])

# %% [markdown]
# ## Mean and variance
#
# Of the same unit of the last hidden layer. In the study shown, the variance
# under `none` is that of a constant: nothing of the example gets up here, so
# there is nothing to learn from. The penalty pulls mean and variance towards 0
# and 1 and does not get them there. `renormalize` and `batch_norm` put them
# there, and a learned scale and bias may then move them a little.

# %%
plots.curves(df, f'{top}/unit_mean')

# %%
plots.curves(df, f'{top}/unit_var', log=True)

# %% [markdown]
# ## All units
#
# The distance from normalized, averaged over the units of each site, before
# that scale and bias: a line per site, from the input up.

# %%
plots.sites_over_steps(df)
