"""The arms of the batch_norm benchmark: one process each, told by lines.

`prepare SHAPE DTYPE` builds the arrays and the program and answers with a line
of JSON; `go` answers with the seconds of one call; both end with a newline.
"""

import ast
import json
import sys
import time

SECONDS = 0.02  # of a burst on small shapes: more than the clock's noise


def serve(argv):
  """Serves one arm until standard input ends."""
  name, malloc = argv
  if malloc == 'malloc':
    from bn_jax import allocator

    allocator.raise_thresholds()
  arm = {'torch': _torch}.get(name, _jax)
  run = None
  print('ready', flush=True)
  for line in sys.stdin:
    command, *rest = line.split(maxsplit=1)
    if command == 'prepare':
      run = None  # the last arrays go before the next come
      shape, dtype = rest[0].rsplit(maxsplit=1)
      run, facts = arm(name, ast.literal_eval(shape), dtype)
      _warm_up(run)
      print(json.dumps(facts), flush=True)
    else:
      print(_burst(run), flush=True)


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


def _jax(name, shape, dtype):
  import jax
  import jax.numpy as jnp

  keys = jax.random.split(jax.random.key(0), 4)
  x, d = (jax.random.normal(k, shape, dtype) for k in keys[:2])
  channels = shape[-1:]
  scale, bias = (jax.random.normal(k, channels) + 1 for k in keys[2:])
  if name == 'copy':
    compiled = jax.jit(lambda x: x + jnp.ones((), x.dtype)).lower(x).compile()
    return _calls(lambda: compiled(x)), {}

  layer = _layer(name, x.dtype)
  stats = {'mean': jnp.zeros(channels), 'var': jnp.ones(channels)}

  def forward(x, scale, bias):
    variables = {
      'params': {'scale': scale, 'bias': bias},
      'batch_stats': stats,
    }
    return layer.apply(variables, x, mutable=['batch_stats'])

  def both(x, scale, bias, d):
    y, pull, new = jax.vjp(forward, x, scale, bias, has_aux=True)
    return y, new, pull(d)

  arguments = (x, scale, bias, d)
  compiled = jax.jit(both).lower(*arguments).compile()
  memory = compiled.memory_analysis()
  pull = jax.vjp(jax.jit(forward), x, scale, bias, has_aux=True)[1]
  kept = sum(a.nbytes for a in jax.tree.leaves(pull))
  facts = {
    'kept': kept / x.nbytes,
    'temporary': memory.temp_size_in_bytes / x.nbytes,
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


def _torch(name, shape, dtype):
  import torch

  del name
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  generator = torch.Generator(device).manual_seed(0)

  def draw():  # channels are last in memory, second for PyTorch
    a = torch.randn(*shape, generator=generator, device=device)
    return a.to(getattr(torch, dtype)).movedim(-1, 1)

  x, d = draw().requires_grad_(), draw()
  layers = {2: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d}
  layer = layers[len(shape)](shape[-1], momentum=0.01).to(device)

  def call():
    x.grad = None
    layer.zero_grad()
    layer(x).backward(d)

  seen = {}

  def note(tensor):
    if tensor.numel() > shape[-1]:
      seen[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
    return tensor

  with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
    layer(x)
  kept = sum(seen.values()) / (x.numel() * x.element_size())
  wait = torch.cuda.synchronize if device == 'cuda' else (lambda: None)
  return _Calls(call, lambda _: wait(), each=False), {'kept': kept}


if __name__ == '__main__':
  serve(sys.argv[1:])
