"""What only TensorFlow can do: download and prepare a set, read tfrecord.

TensorFlow is the optional extra `tensorflow`. It is imported when nothing
else helps (5 to 20 s), and kept off the accelerators, which JAX needs whole.
"""

import importlib.util
import queue
import socket
import threading
import time
import urllib.parse
import urllib.request

from bn_jax.data import progress
from bn_jax.data.dataset import first_line
from bn_jax.errors import UserError

_SECONDS = 3.0  # that the hosts of a set have to answer


def has_tensorflow() -> bool:
  """Returns whether TensorFlow is installed; does not import it."""
  return importlib.util.find_spec('tensorflow') is not None


def in_python(name: str) -> str:
  """Returns the line that prepares a set as array_record.

  (TFDS's own command line does not start without apache_beam.)
  """
  return (
    f'tensorflow_datasets.builder({name!r})'
    ".download_and_prepare(file_format='array_record')"
  )


def prepare(builder, name: str, folder: str) -> None:
  """Downloads and prepares a set as array_record.

  Args:
    builder: of a set that is not prepared.
    name: as the user gave it.
    folder: where the set goes, `data_dir`.

  Raises:
    UserError: TensorFlow or the network is missing, or TFDS failed.
  """
  missing = f'data.name: {name!r} is not prepared in {folder}'
  if not has_tensorflow():
    raise UserError(
      f'{missing}; install TensorFlow (pip install tensorflow-cpu) and run '
      'this again, or copy the folder of a machine where it is prepared'
    )
  hosts = _hosts(builder)
  if hosts and not reachable(hosts):
    raise UserError(
      f'{missing}, and no answer from {" or ".join(sorted(hosts))} in '
      f'{_SECONDS:.0f} s; where there is a network, run in Python '
      f'`{in_python(name)}`, and copy the folder'
    )
  hide_devices()
  try:
    builder.download_and_prepare(file_format='array_record')
  except Exception as error:
    raise UserError(
      f'data.name: {name!r} could not be prepared in {folder}: '
      f'{first_line(error)}'
    ) from error


def _hosts(builder):
  """Returns the hosts, as 'name:port', that the set is downloaded from."""
  urls = [urllib.parse.urlsplit(u) for u in builder.url_infos or ()]
  proxies = urllib.request.getproxies()
  hosts = set()
  for url in urls:
    at = urllib.parse.urlsplit(proxies.get(url.scheme, '')) or url
    at = at if at.hostname else url
    if at.hostname:
      port = at.port or {'http': 80, 'ftp': 21}.get(at.scheme, 443)
      hosts.add(f'{at.hostname}:{port}')
  return hosts


def reachable(hosts) -> bool:
  """Returns whether one of the hosts ('name:port') accepts a connection.

  It takes 3 seconds at most: a look-up of a name may hang for minutes where
  there is no network, and is then left behind in a daemon thread.
  """
  answers = queue.Queue()
  for host in hosts:
    threading.Thread(target=_ask, args=(host, answers), daemon=True).start()
  end = time.monotonic() + _SECONDS
  for _ in hosts:
    try:
      if answers.get(timeout=max(end - time.monotonic(), 0)):
        return True
    except queue.Empty:
      break
  return False


def _ask(host, answers):
  name, port = host.rsplit(':', 1)
  try:
    socket.create_connection((name, int(port)), timeout=_SECONDS).close()
  except (OSError, UnicodeError):  # the latter from a name too long for DNS
    answers.put(False)
  else:
    answers.put(True)


def hide_devices() -> None:
  """Keeps TensorFlow from taking the memory of an accelerator."""
  import tensorflow as tf

  tf.config.set_visible_devices([], 'GPU')
  tf.config.set_visible_devices([], 'TPU')


class _Examples(list):
  def __getitems__(self, positions):
    return [self[position] for position in positions]


def tfrecord(builder, split: str, keys: tuple[str, ...]) -> _Examples:
  """Reads a split prepared as tfrecord, in the order of its files.

  Args:
    builder: of the set.
    split: its name.
    keys: the features that an example here has; others are dropped.
  """
  hide_devices()
  import tensorflow_datasets as tfds

  examples = builder.as_dataset(
    split=split,
    shuffle_files=False,
    read_config=tfds.ReadConfig(interleave_cycle_length=1),
  )
  total = builder.info.splits[split].num_examples
  decoded = progress.track(
    tfds.as_numpy(examples), [1] * total, f'Decoding {builder.name} {split}'
  )
  return _Examples({key: e[key] for key in keys} for e in decoded)
