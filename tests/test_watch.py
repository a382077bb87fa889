"""`python -m experiments.watch`: what it shows, and that it ends.

Planted and seen: a half-written line that is read, a line that is read twice, a
run that went back to its checkpoint, a folder by another name than the
study's, an end before the study's, a corrupt file that is passed over.
"""

import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
import synthetic

from bn_jax import config as config_lib
from bn_jax import live, report, results
from bn_jax.errors import UserError
from bn_jax.study import Study

ROOT = pathlib.Path(__file__).parent.parent
NAMES = ('none', 'batch_norm')
STEPS = 1000


def study(folder, **changes):
  """A finished study of two strategies: 3 x 2 trials and 4 seeds each."""
  synthetic.write_study(
    folder, NAMES, seeds=range(4), rates=(0.01, 0.1, 1.0), **changes
  )
  path = folder / 'config.json'
  config = json.loads(path.read_text())
  config['cases'] = {f'case-{n}': {'num_train_steps': STEPS} for n in NAMES}
  path.write_text(json.dumps(config))
  return folder


def in_mid_run(folder):
  """The same while the second strategy is tuned, half of its steps done."""
  study(folder)
  for name in NAMES:
    shutil.rmtree(folder / 'runs' / f'final-{name}')
  run = folder / 'runs' / 'tune-batch_norm'
  (run / 'summary.json').unlink()
  curves = run / 'curves.jsonl'
  lines = [json.loads(line) for line in curves.read_text().splitlines()]
  kept = [''.join(json.dumps(half(c)) + '\n' for c in lines)]
  # The next chunk is being written: it would be at the last step.
  kept.append(json.dumps(lines[-1])[:-1])
  curves.write_text(''.join(kept))
  for began in ('tune-none', 'tune-batch_norm'):
    os.utime(folder / 'runs' / began / 'config.json', (0, time.time() - 50))
  return folder


def half(chunk):
  """A line of curves without the rows after step 500."""
  rows = sum(step <= STEPS // 2 for step in chunk['step'])
  return {
    'step': chunk['step'][:rows],
    'metrics': {
      name: [member[:rows] for member in values]
      for name, values in chunk['metrics'].items()
    },
  }


def command(*words, **options):
  return subprocess.Popen(
    [sys.executable, '-m', 'experiments.watch', *map(str, words)],
    cwd=ROOT,
    env={**os.environ, 'COLUMNS': '100'},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    **options,
  )


def watched(*words):
  done = command(*words)
  out, err = done.communicate(timeout=300)
  return done.returncode, out, err


def row(out, name):
  (line,) = [line for line in out.splitlines() if f'│ {name} ' in line]
  return [cell.strip() for cell in line.strip('│').split('│')]


def best(folder, strategy):
  """Of the trials, the mean over its two seeds at the last step, in %."""
  path = folder / 'runs' / f'tune-{strategy}' / 'curves.jsonl'
  last = json.loads(path.read_text().splitlines()[1])
  found = [r[-1] for r in last['metrics']['validation/accuracy']]
  return max(sum(found[i : i + 2]) / 2 for i in (0, 2, 4)) * 100


def test_a_finished_study_is_shown_and_the_command_ends(tmp_path):
  folder = study(tmp_path / 'study')
  (folder / 'report.html').write_text('')
  code, out, err = watched(folder)
  assert (code, err) == (0, '')
  assert f'finished; report: {folder / "report.html"}' in out.replace('\n', '')
  for name in NAMES:
    cells = row(out, name)
    assert cells[1].endswith('100%') and cells[3].endswith('100%')
    assert float(cells[2]) == pytest.approx(best(folder, name), abs=0.06)


def test_a_study_in_mid_run_is_half_way(tmp_path):
  folder = in_mid_run(tmp_path / 'study')
  code, out, err = watched(folder, '--once')
  assert (code, err) == (0, '')
  assert row(out, 'none')[1].endswith('100%')
  tuning, accuracy, reported, mean, failed = row(out, 'batch_norm')[1:]
  assert tuning.endswith(' 50%') and reported == '0%'
  assert float(accuracy) == pytest.approx(best(folder, 'batch_norm'), abs=0.06)
  assert (mean, failed) == ('-', '-')
  # 9 of 20 runs' steps: 6 of `none` and half of the 6 of `batch_norm`.
  assert '45% done' in out and 'time left' in out


def test_time_left_is_at_the_strategys_own_speed(tmp_path):
  picture = live.Watcher(in_mid_run(tmp_path / 'study')).look()
  # `none`: 4,000 run-steps/s by its summary; `batch_norm`: 3,000 in 50 s.
  wanted = 4 * STEPS / 4000 + (3 + 4) * STEPS / (3 * STEPS / 50)
  assert picture.left == pytest.approx(wanted, abs=3)


def arrive(run, folder):
  """Puts a run's files there as a run does: each whole, the summary last."""
  folder.mkdir(exist_ok=True)
  for path in sorted(run.iterdir(), key=lambda p: p.name == 'summary.json'):
    partial = folder / f'{path.name}.partial'
    shutil.copy2(path, partial)
    os.replace(partial, folder / path.name)


def test_the_command_follows_to_the_end(tmp_path):
  folder = in_mid_run(tmp_path / 'study')
  other = study(tmp_path / 'whole')
  running = command(folder)
  with pytest.raises(subprocess.TimeoutExpired):
    running.wait(timeout=4)
  for run in sorted((other / 'runs').iterdir()):
    arrive(run, folder / 'runs' / run.name)
  out, err = running.communicate(timeout=300)
  assert (running.returncode, err) == (0, '')
  assert out.strip().endswith('finished')
  assert all(row(out, name)[3].endswith('100%') for name in NAMES)


def part(watcher, strategy, phase):
  (found,) = [
    p
    for p in watcher.look().parts
    if (p.strategy, p.phase) == (strategy, phase)
  ]
  return found


def test_growing_and_rewound_curves_are_read_as_they_are(tmp_path):
  folder = in_mid_run(tmp_path / 'study')
  curves = folder / 'runs' / 'tune-batch_norm' / 'curves.jsonl'
  watcher = live.Watcher(folder)
  assert part(watcher, 'batch_norm', 'tune').step == 500
  with open(curves, 'a') as file:
    file.write('}\n')  # the chunk is whole now
  assert part(watcher, 'batch_norm', 'tune').step == STEPS
  lines = curves.read_text().splitlines(keepends=True)
  curves.write_text(''.join(lines[:2]))  # a resumed run drops what is after it
  again = part(watcher, 'batch_norm', 'tune')
  assert again.step == 500 and again.share == 0.5


def test_members_that_diverged_are_counted(tmp_path):
  folder = study(tmp_path / 'study', diverged={'none': (1, 3)})
  for path in folder.glob('runs/*/curves.jsonl'):
    path.write_text(path.read_text().replace('NaN', 'null'))
  code, out, _ = watched(folder, '--once')
  assert code == 0 and row(out, 'none')[-1] == '2'
  assert row(out, 'batch_norm')[-1] == '-'


def test_failures_are_counted_as_the_report_counts_them(tmp_path):
  """Those of tuning have a line of their own, where there are any."""
  folder = study(tmp_path / 'study', diverged={'none': (1,)})
  synthetic.write_run(
    folder / 'runs' / 'tune-none', 'none', (0, 1), (0.01, 0.1, 1.0),
    diverged=(0, 1, 2, 5),
  )  # fmt: skip
  for path in folder.glob('runs/*/curves.jsonl'):
    path.write_text(path.read_text().replace('NaN', 'null'))
  code, out, _ = watched(folder, '--once')
  assert code == 0 and row(out, 'none')[-1] == '1'
  assert row(out, 'batch_norm')[-1] == '-'
  assert 'failed in tuning: none 4\n' in out and 'over rates' not in out
  found = report.table(results.load(folder).query("phase == 'final'"), {})
  assert found.diverged['none', ''] == 1


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_watching_alone(tmp_path, number):
  # What a shell starts in the background ignores Ctrl-C, and so would this.
  heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
  running = command(in_mid_run(tmp_path / 'study'), preexec_fn=heard)
  with pytest.raises(subprocess.TimeoutExpired):
    running.wait(timeout=6)
  running.send_signal(number)
  out, err = running.communicate(timeout=300)
  assert (running.returncode, err) == (0, '')
  assert out.strip().endswith('what was watched goes on')


def test_the_time_comparison_belongs_to_the_study(tmp_path):
  folder = study(tmp_path / 'study')
  path = folder / 'config.json'
  config = json.loads(path.read_text())
  config['study']['timing_rounds'] = 7
  path.write_text(json.dumps(config))
  (folder / 'times.json').unlink(missing_ok=True)
  assert not live.Watcher(folder).look().ended
  (folder / 'times.json').write_text('{}')
  assert live.Watcher(folder).look().ended


def test_a_run_outside_a_study(tmp_path):
  run = synthetic.write_run(tmp_path / 'run', 'batch_norm+lsuv', finished=False)
  code, out, err = watched(run, '--once')
  assert (code, err) == (0, '')
  assert row(out, 'batch_norm+lsuv')[1].endswith('100%')
  assert '100% done' in out


@pytest.mark.parametrize(
  'words', [('nowhere',), ('.',), (), ('a', '--config.x=1')]
)
def test_a_wrong_folder_is_one_line(words):
  code, out, err = watched(*words)
  assert (code, out) == (2, '')
  assert err.startswith('error: ') and err.count('\n') == 1


def test_a_folder_of_studies_names_them(tmp_path):
  study(tmp_path / 'mine')
  with pytest.raises(UserError, match='mine'):
    live.Watcher(tmp_path)


def test_a_corrupt_line_is_an_error(tmp_path):
  folder = study(tmp_path / 'study')
  path = folder / 'runs' / 'final-none' / 'curves.jsonl'
  path.write_text('{"step": [1]\n' + path.read_text())
  code, _, err = watched(folder, '--once')
  assert code == 2 and 'final-none' in err and err.count('\n') == 1


def test_it_looks_where_the_study_writes(tmp_path):
  """Names, members and steps are those of a real study's runs."""

  def make(name):
    config = config_lib.default(name)
    config.update_from_flattened_dict(
      {'model.depth': 1, 'model.width': 4, 'data.limit': 200}
    )
    return config

  settings = config_lib.study()
  settings.strategies = ('none', 'batch_norm+adaptive_grad_clip')
  settings.trials, settings.tuning_seeds, settings.seeds = 3, 2, 5
  settings.grid = {
    'model': {'depth': (1, 2)},
    'optimizer': {'momentum': (0.0, 0.9)},
  }
  made = Study(make, settings, tmp_path / 'study')
  made.claim('command')
  picture = live.Watcher(tmp_path / 'study').look()
  total = sum(p.members * p.total for p in picture.parts)
  assert total == made.total_steps()
  found = {'-'.join((p.phase, p.strategy, p.variant)) for p in picture.parts}
  phases = ('tune', 'final')
  assert found == {c.folder(p) for c in made.cases for p in phases}
  assert picture.left is None and not picture.ended
