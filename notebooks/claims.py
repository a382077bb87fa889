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
# # Claims
#
# The textbook's account of batch norm, sentence by sentence. Each claim has a
# criterion that was agreed on before the full run, and ends as supported, not
# supported or inconclusive. This notebook reads what
#
#     python -m experiments.claims --workdir=runs/claims
#
# has measured, and measures nothing itself. All ten claims take about half an
# hour on two cores; `--only=NAME,NAME` measures some.

# %%
import os
import sys

if not os.path.isdir('bn_jax'):
  os.chdir('..')  # to the root of the checkout
sys.path.insert(0, os.getcwd())
# Of finished claims; set it to your own, here or in the environment.
CLAIMS = os.environ.get('BN_JAX_CLAIMS', 'runs/claims')
if not os.path.isfile(f'{CLAIMS}/claims.json'):
  sys.exit(
    f'{CLAIMS}/claims.json is not there: python -m experiments.claims'
    f' --workdir={CLAIMS} --only=backprop_through_statistics makes it'
  )

# %%
# %matplotlib inline
import pandas as pd
from IPython.display import display

from bn_jax import results
from experiments import claims

# %%
found = results.read_json(f'{CLAIMS}/claims.json')
print(f'{len(found)} of {len(claims.names())} claims are measured here')
pd.set_option('display.max_colwidth', None)
pd.set_option('display.float_format', '{:.4g}'.format)
verdicts = pd.DataFrame(found).set_index('name')
verdicts[['sentence', 'verdict', 'seconds']]

# %% [markdown]
# ## What the verdicts rest on
#
# A row for each criterion: the value with its 95% bootstrap interval over
# seeds (for identities, the range over seeds), and what it must be.

# %%
rows = pd.DataFrame(
  [{'claim': r['name'], **f} for r in found for f in r['findings']]
)
columns = ['says', 'value', 'low', 'high', 'comparison', 'threshold', 'outcome']
rows.set_index('claim')[columns]

# %% [markdown]
# ## Figures
#
# As on the page `claims.html`, one for each claim.

# %%
for result in found:
  print(f'{result["name"]}: {result["sentence"]}')
  display(claims.figure(CLAIMS, result['name']))
