"""The gallery's pictures: what the calls on its page draw of a study.

python -m docs.snippets.gallery runs/shallow_and_deep docs/figures/gallery
"""

import pathlib
import re
import sys

PAGE = pathlib.Path(__file__).parents[1] / 'gallery.md'
STUDY = 'runs/shallow_and_deep'  # as the page calls it


def calls():
  """The code that loads the study, and by plot the call that draws it."""
  blocks = re.findall(
    r'^#+ (\w+)\n.*?^```python\n(.*?)^```', PAGE.read_text(), re.M | re.S
  )
  return blocks[0][1], dict(blocks[1:])


def draw(workdir):
  """Yields (name, figure) for each call on the page."""
  load, plots = calls()
  names = {}
  exec(load.replace(STUDY, str(workdir)), names)
  for name, call in plots.items():
    yield name, eval(call, names)


if __name__ == '__main__':
  for name, fig in draw(sys.argv[1]):
    fig.savefig(pathlib.Path(sys.argv[2], f'{name}.png'), dpi=120)
