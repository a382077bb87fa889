"""The processes of the batch_norm benchmark, told what to do by lines.

`prepare SHAPE DTYPE` builds arrays and programs and answers with a line of
JSON, {program: facts}; `go PROGRAM` answers with the seconds of one call.
`peak PROGRAM SHAPE DTYPE` answers with the most memory that JAX's device ever
held, in units of the input: it needs a process in which nothing else ran.
"""

import ast
import json
import sys
import time

SECONDS = 0.03  # of a burst on small shapes: more than the clock's noise


def serve(argv):
  """Serves `jax` or `torch` until standard input ends."""
  kind, malloc = argv
  if malloc == 'malloc':
    from bn_jax import allocator

    allocator.raise_thresholds()
  prepare = {'jax': _jax, 'torch': _torch}[kind]
  runs = {}
  print('ready', flush=True)
  for line in sys.stdin:
    command, rest = line.split(maxsplit=1)
    if command == 'prepare':
      runs = {}  # the last arrays go before the next come
      shape, dtype = rest.rsplit(maxsplit=1)
      runs, facts = prepare(ast.literal_eval(shape), dtype)
      for run in runs.values():
        _warm_up(run)
      print(json.dumps(facts), flush=True)
    elif command == 'peak':
      name, rest = rest.split(maxsplit=1)
      shape, dtype = rest.rsplit(maxsplit=1)
      print(_peak(name, ast.literal_eval(shape), dtype), flush=True)
    else:
      print(_burst(runs[rest.strip()]), flush=True)


def _warm_up(run):
  run(1)
  began = time.perf_counter()
  run(1)
  seconds = max(time.perf_counter() - began, 1e-6)
  run.calls = max(1, min(1000, round(SECONDS / seconds)))


def _burst(run):
  began = time.perf_counter()
  run(run.calls)
  return (time.perf_counter() - began) / run.calls


class _Calls:
  """A function that is called `calls` times, then waited for."""

  def __init__(self, call, wait, each):
    self.call, self.wait, self.each = call, wait, each

  def __call__(self, times):
    out = None
    for _ in range(times):
      out = None  # its memory is free for the next
      out = self.call()
      if self.each:
        self.wait(out)
    self.wait(out)


def _jax(shape, dtype):
  """The same arrays for all programs; the copy moves the bytes of 8 passes."""
  import jax
  import jax.numpy as jnp

  keys = jax.random.split(jax.random.key(0), 4)
  x, d = (jax.random.normal(k, shape, dtype) for k in keys[:2])
  scale, bias = (jax.random.normal(k, shape[-1:]) + 1 for k in keys[2:])
  four = jnp.stack([x, d, x, d])
  copy = jax.jit(lambda a: a + jnp.ones((), a.dtype)).lower(four).compile()
  runs, facts = {'copy': _calls(lambda: copy(four))}, {'copy': {}}
  for name in ('bn_jax', 'flax'):
    runs[name], facts[name] = _program(_layer(name, x.dtype), x, scale, bias, d)
  return runs, facts


def _peak(name, shape, dtype):
  """Of one call, as the device counted it; null where it does not count."""
  import jax
  import jax.numpy as jnp

  x, d, scale, bias = (  # drawing would take memory of its own
    jnp.ones(s, t)
    for s, t in [(shape, dtype)] * 2 + [(shape[-1:], 'float32')] * 2
  )
  compiled = _compiled(
    _forward(_layer(name, x.dtype), scale), x, scale, bias, d
  )
  jax.block_until_ready(compiled(x, scale, bias, d))
  stats = jax.devices()[0].memory_stats() or {}
  peak = stats.get('peak_bytes_in_use')
  return json.dumps(peak and peak / x.nbytes)


def _forward(layer, scale):
  import jax.numpy as jnp

  stats = {'mean': jnp.zeros_like(scale), 'var': jnp.ones_like(scale)}

  def forward(x, scale, bias):
    variables = {
      'params': {'scale': scale, 'bias': bias},
      'batch_stats': stats,
    }
    return layer.apply(variables, x, mutable=['batch_stats'])

  return forward


def _compiled(forward, *arguments):
  import jax

  def both(x, scale, bias, d):
    y, pull, new = jax.vjp(forward, x, scale, bias, has_aux=True)
    return y, new, pull(d)

  return jax.jit(both).lower(*arguments).compile()


def _program(layer, *arguments):
  import jax

  x = arguments[0]
  forward = _forward(layer, arguments[1])
  compiled = _compiled(forward, *arguments)
  pull = jax.vjp(jax.jit(forward), *arguments[:3], has_aux=True)[1]
  kept = sum(a.nbytes for a in jax.tree.leaves(pull))
  memory = compiled.memory_analysis()
  total = (
    memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    + memory.temp_size_in_bytes
    - memory.alias_size_in_bytes
  )
  facts = {
    'kept': kept / x.nbytes,
    'temporary': memory.temp_size_in_bytes / x.nbytes,
    'peak': total / x.nbytes,
    'device': jax.devices()[0].device_kind,
  }
  return _calls(lambda: compiled(*arguments)), facts


def _calls(call):
  import jax

  on_cpu = jax.devices()[0].platform == 'cpu'
  return _Calls(call, jax.block_until_ready, each=on_cpu)


def _layer(name, dtype):
  if name == 'bn_jax':
    import bn_jax

    return bn_jax.BatchNorm(use_running_average=False, dtype=dtype)
  from flax import linen as nn

  return nn.BatchNorm(use_running_average=False, dtype=dtype)


def _torch(shape, dtype):
  """Eager; images both with the channels last in memory and with them second.

  The second is PyTorch's own order, contiguous.
  """
  runs, facts = {}, {}
  for name in ('torch', 'torch_contiguous')[: 2 if len(shape) == 4 else 1]:
    runs[name], facts[name] = _torch_run(shape, dtype, name != 'torch')
  return runs, facts


def _torch_run(shape, dtype, contiguous):
  import torch

  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  before = torch.cuda.memory_allocated() if device == 'cuda' else 0
  generator = torch.Generator(device).manual_seed(0)

  def draw():  # channels are last in memory, second for PyTorch
    a = torch.randn(*shape, generator=generator, device=device)
    a = a.to(getattr(torch, dtype)).movedim(-1, 1)
    return a.contiguous() if contiguous else a

  x, d = draw().requires_grad_(), draw()
  layers = {2: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d}
  layer = layers[len(shape)](shape[-1], momentum=0.01).to(device)

  def call():
    x.grad = None
    layer.zero_grad()
    layer(x).backward(d)

  size = x.numel() * x.element_size()
  facts = {'kept': _torch_kept(layer, x) / size}
  if device == 'cuda':
    torch.cuda.reset_peak_memory_stats()
    call()
    facts['peak'] = (torch.cuda.max_memory_allocated() - before) / size
  wait = torch.cuda.synchronize if device == 'cuda' else (lambda: None)
  return _Calls(call, lambda _: wait(), each=False), facts


def _torch_kept(layer, x):
  """Bytes of what is kept for the backward pass and not of one row's size."""
  import torch

  seen = {}

  def note(tensor):
    if tensor.numel() > x.shape[1]:
      seen[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
    return tensor

  with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
    layer(x)
  return sum(seen.values())


if __name__ == '__main__':
  serve(sys.argv[1:])
