"""The figures of a report: which, and in which order."""

from collections.abc import Callable
from typing import NamedTuple

from bn_jax import plots
from bn_jax.errors import UserError
from bn_jax.plots import style

# Studies with more variants show curves of the first, middle and last.
MAX_VARIANTS = 4
_BAND = 'Mean over seeds with 95% bootstrap interval'


class Panel(NamedTuple):
  """A figure of the report."""

  name: str
  title: str
  caption: str
  draw: Callable


def panels(study) -> list[Panel]:
  """What a `study.Study` can show; the first belongs to the verdict."""
  return [*_scores(study), *_curves(study), *_tuning(study), *_sites(study)]


def draw(panel):
  """The figure, or None where what it shows was not measured."""
  try:
    return panel.draw()
  except UserError:
    return None


def _shown_variants(study):
  names = study.variants
  if len(names) <= MAX_VARIANTS:
    return names
  return [names[0], names[len(names) // 2], names[-1]]


def _at(variant, name, title):
  """Name and title of a panel of one variant."""
  if not variant:
    return name, title
  slug = ''.join(c if c.isalnum() else '_' for c in variant)
  return f'{name}_{slug}', f'{title}, {variant}'


def _scores(study):
  final, metric, chance = study.final, study.metric, study.chance
  title = style.label(metric).capitalize()
  yield from _rates(study)
  for x in study.grid:
    yield Panel(
      f'over_{x}'.replace('.', '_'), f'{title} over {x}',
      f'{_BAND}, each point tuned by itself; runs that diverged stay in it'
      ' at chance level.',
      lambda x=x: plots.over_field(final, metric, x=x, chance=chance),
    )  # fmt: skip
  yield Panel(
    'scores', title,
    'Dots: seeds; crosses: runs that diverged; symbol and bar: mean with 95%'
    ' bootstrap interval.',
    lambda: plots.dots(final, metric, chance=chance),
  )  # fmt: skip


def _rates(study):
  """The learning-rate curves, of studies that have them."""
  for variant in _shown_variants(study) if len(study.rates) else ():
    mine = study.rates[study.rates.variant == variant]
    for metric in ('train/loss', 'validation/accuracy'):
      name, title = _at(
        variant,
        f'learning_rate_{metric.replace("/", "_")}',
        f'Final {style.label(metric)} over the learning rate',
      )
      yield Panel(
        name, title,
        f'{_BAND}; runs that diverged, or end worse than a guess, count as a'
        ' guess. Other hyperparameters as they were tuned. Bars: the widest'
        ' range of learning rates whose mean validation accuracy reaches the'
        ' target.',
        lambda df=mine, m=metric: plots.sensitivity(
          df, m, chance=study.chance, target=study.target
        ),
      )  # fmt: skip


def _curves(study):
  metrics = ['validation/accuracy', 'train/loss', 'train/undone']
  stays = 'runs that diverged stay in it at chance level.'
  # What an edit undoes has no such level.
  ends = 'it ends where the first run diverges.'
  for metric in metrics:
    for variant in _shown_variants(study):
      final = study.final[study.final.variant == variant]
      name, title = _at(
        variant, metric.replace('/', '_'), style.label(metric).capitalize()
      )
      yield Panel(
        name, title,
        f'{_BAND}; {ends if metric == "train/undone" else stays}',
        lambda df=final, m=metric: plots.curves(df, m, chance=study.chance),
      )  # fmt: skip


def _tuning(study):
  final, tune, chance = study.final, study.tune, study.chance
  yield Panel(
    'sensitivity', 'Learning-rate sensitivity',
    'Tuning runs: final validation accuracy over the learning rate'
    + _other_hyperparameters(tune),
    lambda: plots.sensitivity(tune, chance=chance),
  )  # fmt: skip
  for y in study.grid:
    yield Panel(
      f'grid_{y}'.replace('.', '_'), f'Learning rate and {y}',
      'Tuning runs: mean final validation accuracy.',
      lambda y=y: plots.heat_map(tune, y=y, chance=chance),
    )  # fmt: skip
  yield Panel(
    'profile', 'Performance profile',
    'Share of runs that reach at least the accuracy on the axis.',
    lambda: plots.profile(final, study.metric, chance=chance),
  )  # fmt: skip
  for variant in _shown_variants(study):
    mine = tune[tune.variant == variant]
    yield Panel(
      *_at(variant, 'best_after_trials', 'Best after k tuning trials'),
      'Expected best validation accuracy of a user with a budget of k trials.',
      lambda df=mine: plots.best_after_trials(df, chance=chance),
    )


def _other_hyperparameters(tune):
  """How they vary along the learning rate: trials are points of all."""
  others = [c for c in tune if c.startswith('strategy.')]
  if not others:
    return '.'
  trials = tune[['strategy', 'variant', 'learning_rate', *others]]
  where = ['strategy', 'variant', 'learning_rate']
  if trials.drop_duplicates().groupby(where).size().max() > 1:
    return ', with the best of the other hyperparameters at each.'
  return (
    '; a strategy with other hyperparameters has tried each rate with one value'
    ' of them alone, so its curve is of both.'
  )


_SITES = {
  'sites_along_depth': (
    'Distance from normalized along depth',
    'At the end of training, on held-out data where measured: root mean over'
    ' units of m² + (s - 1)²; 0 is mean 0 and variance 1.',
    plots.along_depth,
  ),
  'sites_over_steps': (
    'Distance from normalized during training',
    'On training batches; a line per site: mean over the seeds that did not'
    ' diverge, with 95% bootstrap interval.',
    plots.sites_over_steps,
  ),
  'percentiles': (
    'Inside a unit',
    "15th, 50th and 85th percentile of one unit's input.",
    plots.percentiles,
  ),
}


def _sites(study):
  for start, (title, caption, draw) in _SITES.items():
    for variant in _shown_variants(study):
      final = study.final[study.final.variant == variant]
      yield Panel(
        *_at(variant, start, title),
        caption,
        lambda df=final, draw=draw: draw(df),
      )
