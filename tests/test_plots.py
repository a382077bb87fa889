import numpy as np
import pandas as pd
import pytest
import synthetic
from matplotlib.colors import to_hex, to_rgb

from bn_jax import plots, results, statistics
from bn_jax.errors import UserError
from bn_jax.plots import style
from bn_jax.plots.steps import curve_data


@pytest.fixture(scope='module')
def study(tmp_path_factory):
  return results.load(
    synthetic.write_study(
      tmp_path_factory.mktemp('plots') / 'study',
      ('none', 'renormalize', 'batch_norm', 'layer_norm'),
      seeds=range(6),
      variants=('model.depth=6', 'model.depth=8'),
      diverged={'none': (1,)},
      rates=(0.01, 0.1, 1.0),
    )
  )


@pytest.fixture
def final(study):
  return study[(study.phase == 'final') & (study.variant == 'model.depth=6')]


@pytest.fixture
def tune(study):
  return study[study.phase == 'tune']


def _line(ax, name):
  color = plots.styles([name])[name].color
  return next(
    line
    for line in ax.lines
    if to_hex(line.get_color()) == color and len(line.get_xdata()) > 1
  )


def _percentiles(df):
  noise = np.random.default_rng(0).normal(size=len(df)) * 0.1
  columns = {f'site_5/p{p}': z + noise for p, z in [(15, -1), (50, 0), (85, 1)]}
  return df.assign(**columns)


DRAW = {
  'curves': lambda f, t: plots.curves(f, 'validation/accuracy'),
  'loss': lambda f, t: plots.curves(f, 'train/loss', log=True),
  'one strategy': lambda f, t: plots.curves(f, 'train/undone'),
  'dots': lambda f, t: plots.dots(f),
  'profile': lambda f, t: plots.profile(f),
  'sensitivity': lambda f, t: plots.sensitivity(t),
  'best': lambda f, t: plots.best_after_trials(t),
  'over field': lambda f, t: plots.over_field(t, 'validation/accuracy'),
  'heat map': lambda f, t: plots.heat_map(t),
  'depth': lambda f, t: plots.along_depth(f),
  'variance': lambda f, t: plots.along_depth(f, 'var'),
  'sites': lambda f, t: plots.sites_over_steps(f),
  'percentiles': lambda f, t: plots.percentiles(_percentiles(f)),
}


def test_percentiles_of_a_site_that_only_deep_networks_have(study):
  """A shallow run, an all-NaN column of it, and a strategy that has none."""
  df = _percentiles(study[study.phase == 'final'])
  df.loc[
    df.variant == 'model.depth=6', [f'site_5/p{p}' for p in (15, 50, 85)]
  ] = np.nan
  df.loc[df.strategy == 'none', 'site_5/p50'] = np.nan
  lines = {ax.get_title(): len(ax.lines) for ax in plots.percentiles(df).axes}
  assert lines.pop('none') == 0 and set(lines.values()) == {3}
  shallow = df[df.variant == 'model.depth=6']
  with pytest.raises(UserError, match='no columns'):
    plots.percentiles(shallow)


@pytest.mark.parametrize('name', DRAW)
def test_every_text_stands_inside_the_figure_and_every_axis_has_a_name(
  name, final, tune
):
  fig = DRAW[name](final, tune)
  fig.draw_without_rendering()
  box = fig.bbox.padded(1)
  for ax in fig.axes:
    for text in (ax.xaxis.label, ax.yaxis.label, ax.title):
      extent = text.get_window_extent()
      assert not text.get_text() or box.contains(extent.x0, extent.y0), text
      assert not text.get_text() or box.contains(extent.x1, extent.y1), text
  assert any(ax.get_xlabel() for ax in fig.axes)
  assert fig.get_supylabel() or any(
    ax.get_ylabel() or ax.get_yticklabels() for ax in fig.axes
  )


@pytest.mark.parametrize('name', ['curves', 'profile', 'sensitivity', 'depth'])
def test_a_legend_names_every_strategy(name, final, tune):
  fig = DRAW[name](final, tune)
  found = [text.get_text() for text in fig.legends[0].get_texts()]
  assert found == ['none', 'renormalize', 'batch_norm', 'layer_norm']


def test_a_curve_is_the_mean_with_failures_at_chance(final):
  fig = plots.curves(final, 'validation/accuracy', chance=0.1)
  evaluated = final.step % 100 == 0
  rows = final[(final.strategy == 'none') & evaluated]
  filled = statistics.with_failures(rows, 'validation/accuracy', chance=0.1)
  expected = filled.groupby(rows.step).mean()
  line = _line(fig.axes[0], 'none')
  np.testing.assert_allclose(line.get_xdata(), expected.index)
  np.testing.assert_allclose(line.get_ydata(), expected)


def test_long_curves_are_binned_and_keep_their_mean(final):
  many = final[final.strategy == 'batch_norm']
  parts = [many.assign(step=many.step + 1000 * k) for k in range(4)]
  data = curve_data(pd.concat(parts), 'train/loss')
  steps, found = data['batch_norm']
  assert len(steps) == 200 and steps[-1] == 4000
  np.testing.assert_allclose(found.point.mean(), many['train/loss'].mean())


def test_sensitivity_takes_the_best_of_the_other_hyperparameters(tune):
  one = tune[tune.strategy == 'batch_norm']
  worse = one.assign(run=one.run + 'b')
  worse['validation/accuracy'] -= 0.05
  both = pd.concat(
    [one.assign(**{'strategy.x.weight': 1.0}),
     worse.assign(**{'strategy.x.weight': 2.0})]
  )  # fmt: skip
  for df in (one, both):
    line = _line(plots.sensitivity(df).axes[0], 'batch_norm')
    best = statistics.finals(one, 'validation/accuracy')
    best = best.groupby('learning_rate').score.mean()
    np.testing.assert_allclose(line.get_xdata(), best.index)
    np.testing.assert_allclose(line.get_ydata(), best)


def _luminance(color):
  parts = [
    c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
    for c in to_rgb(color)
  ]
  return np.dot(parts, [0.2126, 0.7152, 0.0722])


def test_sites_have_intervals_and_shades_for_light_and_dark(final):
  fig = plots.sites_over_steps(final)
  found = [s for s in style.series(fig) if s.ax.get_title() == 'batch_norm']
  assert [s.name for s in found] == [f'site_{k}' for k in range(6)]
  first = found[0]
  assert first.x[-1] == 1000 and len(first.x) <= 60
  assert (first.found.low < first.found.point).all()
  last = final[(final.strategy == 'batch_norm') & (final.step == 1000)]
  expected = last['site_0/distance'].mean()
  assert first.found.point[-1] == pytest.approx(expected, abs=0.02)
  shades = [_luminance(s.color) for s in found]
  assert shades == sorted(shades)  # in grey, too
  for paper in ('#ffffff', '#14171b'):
    for shade in shades:
      low, high = sorted((shade, _luminance(paper)))
      assert (high + 0.05) / (low + 0.05) > 2


def test_a_cross_is_a_run_that_diverged_and_a_bar_is_not_hidden(final):
  looks = [*style.FIXED.values(), *style.OTHERS]
  assert not {look.marker for look in looks} & {'x', 'X', '+'}
  ax = plots.dots(final, 'validation/accuracy').axes[0]
  drawn = [line for line in ax.lines if line.get_marker() == '|']
  assert len(drawn) == 4
  for bar in drawn:
    (mean,) = [
      line for line in ax.lines
      if line.get_marker() != '|'
      and line.get_ydata()[0] == bar.get_ydata()[0]
    ]  # fmt: skip
    assert bar.get_markersize() > 1.5 * mean.get_markersize()
    assert list(ax.lines).index(bar) > list(ax.lines).index(mean)


def test_a_heat_map_has_a_row_per_depth_and_a_column_per_rate(tune):
  fig = plots.heat_map(tune)
  assert fig.axes[0].images[0].get_array().shape == (2, 3)


def test_what_was_not_measured_is_a_user_error(final):
  for draw in (
    lambda: plots.curves(final, 'train/nothing'),
    lambda: plots.dots(final, 'test/nothing'),
    lambda: plots.along_depth(final, 'skew'),
    lambda: plots.percentiles(final),
    lambda: plots.heat_map(final, y='model.width'),
  ):
    with pytest.raises(UserError):
      draw()


def test_strategies_differ_in_colour_and_in_grey():
  names = [*style.FIXED, *(f'strategy_{i}' for i in range(12))]
  table = plots.styles(names)
  assert len(set(table.values())) == len(names)
  four = [table[name] for name in style.FIXED]
  assert len({s.color for s in four}) == len({s.marker for s in four}) == 4
  assert len({str(s.line) for s in four}) == 4
  for look in table.values():
    # Against white, WCAG asks for 3 to 1; the lines are thick, 2 will do.
    r, g, b = (((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(look.color))
    assert 1.05 / (0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05) > 2


def test_a_strategy_keeps_its_style_in_other_company():
  alone = plots.styles(['layer_norm'])['layer_norm']
  assert (
    plots.styles(['none', 'layer_norm', 'batch_norm'])['layer_norm'] == alone
  )
  assert plots.styles(['batch_norm'])['batch_norm'].color == '#0072b2'


@pytest.mark.parametrize(
  ('metric', 'said'),
  [
    ('train/loss', 'training loss (nats)'),
    ('test/accuracy', 'test accuracy (%)'),
    ('site_3/var', 'var at site_3'),
  ],
)
def test_metrics_are_said_with_their_units(metric, said):
  assert plots.label(metric) == said


def test_bars_show_the_range_of_rates_that_work(tune):
  fig = plots.sensitivity(tune, 'train/loss', target=0.5)
  curves, bars = fig.axes
  name = 'batch_norm'
  scores = statistics.finals(tune, 'validation/accuracy')
  mean = scores[scores.strategy == name].groupby('learning_rate').score.mean()
  works = statistics.working_range(mean.index, mean.to_numpy(), 0.5)
  rows = list(style.ordered(tune.strategy))
  line = bars.lines[rows.index(name)]
  np.testing.assert_allclose(line.get_xdata(), [works.low, works.high])
  assert (
    f'{works.decades:.1f} decades' in bars.texts[rows.index(name)].get_text()
  )
  assert 'loss' in curves.get_ylabel()


def test_a_loss_worse_than_a_guess_counts_as_a_guess(tune):
  worse = tune.assign(**{'train/loss': 1e6})
  line = _line(plots.sensitivity(worse, 'train/loss').axes[0], 'batch_norm')
  np.testing.assert_allclose(line.get_ydata(), np.log(10))
