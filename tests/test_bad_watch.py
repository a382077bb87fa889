"""What `watch` cannot show: one line, exit code 2."""

import pytest
from refusals import fails

from experiments import watch


# Of `watch`, which has DIR in place of --workdir and no config.
@pytest.mark.parametrize(
  'words, message',
  [
    ([''], 'flags: DIR is empty; it must name a folder'),
    (['A', 'B'], "flags: 'B' is unknown; allowed are --help, --once, -h"),
    (['A', '--onc'], "flags: '--onc' is unknown; did you mean --once?"),
    ([], 'flags: the following arguments are required: DIR'),
    (['A', '--config.seed=1'], "flags: '--config.seed=1'; there is no config"),
  ],
)
def test_what_watch_cannot_take(words, message, capsys):
  found = fails(capsys, watch.main, words)
  assert found.startswith(message) and '--config.FIELD' not in found


# What is in DIR's config.json, and what `watch` says.
WATCHED = [
  ('[1]', 'is not an object'),
  ('{}', "is not the config of a study or a run (KeyError: 'strategies')"),
  ('{"study": {}}', 'is not the config of a study or a run'),
  ('{"study": 3}', 'is not the config of a study or a run'),
  ('{"strategies": ["none"]}', 'is not the config of a study or a run'),
  (
    '{"strategies": ["none"], "num_train_steps": "20"}',
    'is not the config of a study or a run',
  ),
  ('{"a', 'is not JSON'),
]


@pytest.mark.parametrize('config, holds', WATCHED)
def test_what_cannot_be_watched(config, holds, capsys, tmp_path):
  (tmp_path / 'config.json').write_text(config)
  message = fails(capsys, watch.main, [tmp_path, '--once'])
  assert 'config.json' in message and holds in message, message


def test_what_is_no_folder_cannot_be_watched(capsys, tmp_path):
  (tmp_path / 'config.json').mkdir()
  assert 'Is a directory' in fails(capsys, watch.main, [tmp_path, '--once'])
  path = tmp_path / 'file'
  path.write_text('mine')
  assert 'it is a file' in fails(capsys, watch.main, [path, '--once'])
  path = tmp_path / 'nowhere'
  assert 'no such folder' in fails(capsys, watch.main, [path, '--once'])
  message = fails(capsys, watch.main, ['x' * 300, '--once'])
  assert 'File name too long' in message
  path.mkdir()
  config = '{"strategies": ["none"], "num_train_steps": 20}'
  (path / 'config.json').write_text(config)
  (path / 'curves.jsonl').mkdir()
  message = fails(capsys, watch.main, [path, '--once'])
  assert 'curves.jsonl cannot be read' in message
