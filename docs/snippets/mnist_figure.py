"""The README's two pictures of a finished `configs/mnist_sigmoid.py` study.

python -m docs.snippets.mnist_figure runs/mnist_sigmoid docs/figures
"""

import pathlib
import sys

from bn_jax import plots, results

workdir, folder = map(pathlib.Path, sys.argv[1:])
folder.mkdir(parents=True, exist_ok=True)
df = results.load(workdir)
df = df[df.phase == 'final']

accuracy = plots.curves(df, 'test/accuracy')
accuracy.axes[0].set_ylim(0.94, 0.99)  # where the two networks differ
accuracy.savefig(folder / 'mnist_sigmoid_accuracy.png', dpi=150)
percentiles = plots.percentiles(df)
percentiles.savefig(folder / 'mnist_sigmoid_percentiles.png', dpi=150)
