"""docs/protocol.md names tests that there are.

Planted and seen: a test that was renamed.
"""

import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent


def test_every_rule_is_guarded_by_a_test_that_there_is():
  text = (ROOT / 'docs' / 'protocol.md').read_text()
  named = re.findall(r'`(test_\w+\.py)?::(\w+)`', text)
  assert len(named) > 30
  file = ''
  for path, test in named:
    file = path or file
    code = (ROOT / 'tests' / file).read_text()
    assert f'def {test}(' in code, f'{file}::{test}'


def test_every_rule_names_its_test():
  text = (ROOT / 'docs' / 'protocol.md').read_text()
  rules = re.findall(r'^- (?:.+\n(?:  .*\n)*)', text, re.M)
  assert len(rules) > 15
  for rule in rules:
    assert '::test_' in rule, rule
