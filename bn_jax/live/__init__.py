"""A study or a run as it stands, from its files alone, in the terminal."""

import time

from rich.console import Console
from rich.live import Live

from bn_jax.live.files import Part, Picture, Watcher
from bn_jax.live.view import draw

__all__ = ['Part', 'Picture', 'Watcher', 'draw', 'follow']


def follow(workdir, *, once: bool = False, every: float = 1.0) -> None:
  """Shows a study or run until it has ended, or once.

  Args:
    workdir: Of the study or run.
    once: Whether one picture is enough.
    every: Seconds between looks.

  Raises:
    UserError: There is none, or a file is corrupt.
  """
  watcher, console = Watcher(workdir), Console()
  picture = watcher.look()
  if once:
    console.print(draw(picture))
    return
  with Live(draw(picture), console=console, auto_refresh=False) as live:
    while not picture.ended:
      time.sleep(every)
      picture = watcher.look()
      live.update(draw(picture), refresh=True)
