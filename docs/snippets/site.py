"""What mkdocs asks while it builds the site.

The folders are the registries here as well: a module of bn_jax gets a page of
the API, and a strategy its section, with no edit of the site.
"""

import ast
import pathlib

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / 'bn_jax'


def docstring(path):
  """The docstring of a module, without importing it."""
  return ast.get_docstring(ast.parse(path.read_text())) or ''


def parts():
  """The modules and packages right under bn_jax, by name -> file."""
  found = {p.stem: p for p in PACKAGE.glob('[!_]*.py')}
  found |= {p.parent.name: p for p in PACKAGE.glob('[!_]*/__init__.py')}
  return dict(sorted(found.items()))


def strategies():
  """The strategies of the folder."""
  paths = sorted((PACKAGE / 'strategies').glob('[!_]*.py'))
  return [path.stem for path in paths if path.stem != 'base']


def on_config(config):
  """Leaves pages that are not there out of the navigation; adds the API."""
  api = [{'Overview': 'api/index.md'}]
  api += [{f'bn_jax.{name}': f'api/{name}.md'} for name in parts()]
  config.nav = _present(config.nav, pathlib.Path(config.docs_dir), api)
  return config


def _present(entries, folder, api):
  kept = []
  for entry in entries:
    ((title, target),) = entry.items()
    if title == 'API':
      kept.append({title: api})
    elif isinstance(target, list):
      kept.append({title: _present(target, folder, api)})
    elif (folder / target).exists():
      kept.append(entry)
  return kept


def on_files(files, config):
  """Makes the pages of the API: one for each part of bn_jax."""
  pages = {f'api/{name}.md': _api(name, path) for name, path in parts().items()}
  for uri, text in {'api/index.md': _overview(), **pages}.items():
    files.append(File.generated(config, uri, content=text))
  return files


def _overview():
  said = {n: docstring(p).partition('\n')[0] for n, p in parts().items()}
  rows = [f'| [`bn_jax.{n}`]({n}.md) | {line} |' for n, line in said.items()]
  return '\n'.join(
    [
      '# API',
      '',
      'Made from the docstrings. `import bn_jax` loads nothing heavy; '
      '`bn_jax.BatchNorm`, `fold_batch_norm`, `find_pairs`, `from_torch` and '
      '`precise_batch_stats` can be had from it by name.',
      '',
      '| module | |',
      '| --- | --- |',
      *rows,
      '',
    ]
  )


def _api(name, path):
  offered = _offered(path)
  if offered:
    entries = [(f'bn_jax.{name}', None), *offered]
  elif path.name == '__init__.py':
    inner = sorted(path.parent.glob('[!_]*.py'))
    modules = [f'bn_jax.{name}', *(f'bn_jax.{name}.{p.stem}' for p in inner)]
    entries = [(module, None) for module in modules]
  else:
    entries = [(f'bn_jax.{name}', None)]
  text = [f'# bn_jax.{name}', '']
  for target, said in entries:
    text += [f'::: {target}', '    options:', '      heading_level: 2']
    if said:
      text += [f'      heading: {said}', f'      toc_label: {said}']
    elif offered:
      text += ['      members: false']
    text += ['']
  return '\n'.join(text)


def _offered(path):
  """What a package offers by `__all__`: (where it is defined, its name)."""
  tree, found = ast.parse(path.read_text()), []
  if not any('__all__' in ast.unparse(node) for node in tree.body):
    return found
  for node in tree.body:
    if isinstance(node, ast.ImportFrom):
      package = '.'.join(['bn_jax', path.parent.name])
      found += [
        (f'{node.module}.{alias.name}', f'{package}.{alias.name}')
        for alias in node.names
        if node.module.startswith(f'{package}.')
      ]
  return found


def on_page_markdown(markdown, page, **_):
  """Adds the sections of strategies to their page."""
  if page.file.src_uri != 'strategies.md':
    return markdown
  for name in strategies():
    markdown += (
      f'\n## {name}\n\n::: bn_jax.strategies.{name}.{name}\n    options:\n'
      '      show_root_heading: false\n      show_root_toc_entry: false\n'
    )
  return markdown
