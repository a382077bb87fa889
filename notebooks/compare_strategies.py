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
# # Compare strategies
#
# Loads a finished study and draws every figure of its report, each in one
# line. Nothing is trained here. `make compare` made the study that is shown:
# MNIST-1D, a network of 6 hidden layers of 100 sigmoid units, the same 10
# tuning trials and 10 fresh seeds for each strategy.

# %%
import os
import sys

if not os.path.isdir('bn_jax'):
  os.chdir('..')  # to the root of the checkout
sys.path.insert(0, os.getcwd())
# A finished study; set it to your own, here or in the environment.
STUDY = os.environ.get('BN_JAX_STUDY', 'runs/compare')
if not os.path.isdir(STUDY):
  sys.exit(f'{STUDY} is not there: `make compare` makes it in a few minutes')

# %%
# %matplotlib inline
from bn_jax import plots, report, results

# %% [markdown]
# `results.load` takes the folder of one run, of one study, or a folder of
# them. A row is one member at one step; what was not measured there is NaN.

# %%
df = results.load(STUDY)
df.groupby(['phase', 'strategy']).agg(
  members=('member', 'nunique'), rows=('step', 'size'), steps=('step', 'max')
)

# %% [markdown]
# Tuning chose by validation accuracy; fresh seeds are what is reported. `steps`
# is the median until the study's target is reached on validation data.

# %%
tune, final = df[df.phase == 'tune'], df[df.phase == 'final']
shown = ['seeds', 'accuracy', 'accuracy_low', 'accuracy_high', 'steps']
shown += ['distance', 'undone', 'diverged']
study = report.read(STUDY)
found = report.table(
  final, study.summaries, target=study.target, chance=study.chance
)
found[shown].round(3)

# %% [markdown]
# ## How well does each do?
#
# Dots are seeds, the bar is the mean with its 95% bootstrap interval.

# %%
plots.dots(final)

# %%
plots.profile(final)

# %% [markdown]
# ## How fast?

# %%
plots.curves(final, 'validation/accuracy')

# %%
plots.curves(final, 'train/loss')

# %% [markdown]
# ## How hard is it to tune?
#
# The tuning runs over the learning rate, and what a user with a budget of k
# trials would have got.

# %%
plots.sensitivity(tune)

# %%
plots.best_after_trials(tune)

# %% [markdown]
# ## What happens at the sites?
#
# Distance from normalized: 0 where a unit has mean 0 and variance 1, and 1 for
# a unit that never moves.

# %%
plots.along_depth(final)

# %%
plots.sites_over_steps(final)

# %%
plots.sites_over_steps(final, 'var')

# %% [markdown]
# `renormalize` edits the weights after each step. This share of what the
# optimizer did was taken back:

# %%
has_undone = 'train/undone' in final and final['train/undone'].notna().any()
plots.curves(final, 'train/undone') if has_undone else 'no strategy edits'

# %% [markdown]
# A study with a grid has two more: `plots.over_field(final, x='model.depth')`
# and `plots.heat_map(tune, y='model.depth')`. One with rate curves has
# `plots.sensitivity(df[df.phase == 'rates'], 'train/loss')`. Every figure is
# matplotlib's: `plots.dots(final).savefig('dots.pdf')`.
