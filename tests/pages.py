"""What the README and the pages of docs/ tell a reader to type."""

import pathlib
import re
import shlex
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
NAMES = [page.name for page in PAGES]
PROGRAMS = ('python', 'make', 'pip', 'source')
UNKNOWN = 'nobody knows what this is'
# Lines of a shell that belong to machines which nobody has here.
ELSEWHERE = (
  '#',
  'code=$?',
  'exit $code',
  'if [ $code -eq 75 ]; then scontrol requeue',
)
_FENCE = re.compile(
  r'^```(?P<language>\w*)(?: title="(?P<title>[^"]*)")?\n(?P<text>.*?)^```',
  re.M | re.S,
)


class Block(NamedTuple):
  """A block of code: what it is in, the file that it is, if any, its text."""

  language: str
  title: str | None
  text: str


def path(name):
  """The file of a page by its name."""
  return next(page for page in PAGES if page.name == name)


def blocks(name):
  """The blocks of a page in their order; indented ones are a shell's."""
  found, text = [], path(name).read_text()
  outside = re.split(r'^```.*?^```', text, flags=re.M | re.S)
  for match in _FENCE.finditer(text):
    found.append((match.start(), Block(*match.group(1, 2, 3))))
  for part in outside:
    for lines in re.findall(r'(?<=\n\n)(?: {4}.*\n|\n(?= {4}))+', part):
      if not re.search(r'\n[-*] [^\n]*\n\n\Z', part[: part.index(lines)]):
        plain = re.sub(r'^ {4}', '', lines, flags=re.M)
        found.append((text.index(lines), Block('', None, plain)))
  return [block for _, block in sorted(found)]


def files(name):
  """The files that a reader of the page saves: {path: text}."""
  return {b.title: b.text for b in blocks(name) if b.title}


def python(name):
  """The blocks of Python that a reader types."""
  return [
    b.text for b in blocks(name) if b.language == 'python' and not b.title
  ]


def commands(name):
  """Every command on a page as a list of words, in order, inline ones last.

  A line of a shell that is nothing known is the command UNKNOWN.
  """
  found = []
  for block in blocks(name):
    if block.language in ('', 'bash', 'sh'):
      for line in block.text.replace('\\\n', ' ').splitlines():
        found += _commands(line.strip())
  prose = _FENCE.sub('', path(name).read_text())
  for code in re.findall(r'`((?:\w+=\w+ )?(?:make|python|pip) [^`]+)`', prose):
    words = code.split()
    if words[1:2] == ['-m'] and len(words) == 3:  # its name, no command
      words.append('--help')
    found += _commands(' '.join(words))
  return found


def _commands(line):
  if not line or line.startswith(ELSEWHERE):
    return []
  words = shlex.split(line, comments=True)
  for word in words:
    if ' && ' in word:  # commands for another machine's shell
      return _commands(word.rpartition(' && ')[2])
  for i, word in enumerate(words):
    if word in PROGRAMS:
      return [[w for w in words[i:] if w != '&']]
  return [[UNKNOWN, line]]


HOW_TO = [n for n in NAMES if n.startswith('add_a_')]
WITH_COMMANDS = [n for n in NAMES if commands(n)]
