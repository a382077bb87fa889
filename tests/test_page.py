"""Opens report.html in headless Chromium, as a reader would."""

import base64
import json
import re
import shutil

import pytest
import synthetic

from bn_jax import report, results
from bn_jax.plots.steps import curve_data

selenium = pytest.importorskip(
  'selenium.webdriver', reason='selenium is not installed (extra: dev)'
)
CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')
CHROMEDRIVER = shutil.which('chromedriver')
pytestmark = pytest.mark.skipif(
  not (CHROMIUM and CHROMEDRIVER),
  reason='Chromium and chromedriver are not on this machine',
)


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  folder = tmp_path_factory.mktemp('page') / 'study'
  synthetic.write_study(
    folder, seeds=range(10, 16), diverged={'none': (1,)}, rates=(0.01, 0.1, 1.0)
  )
  return report.write(folder)


@pytest.fixture(scope='module')
def browser():
  options = selenium.ChromeOptions()
  options.binary_location = CHROMIUM
  for flag in ('headless=new', 'no-sandbox', 'disable-dev-shm-usage'):
    options.add_argument(f'--{flag}')
  options.set_capability(
    'goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'}
  )
  service = selenium.ChromeService(CHROMEDRIVER)
  driver = selenium.Chrome(options=options, service=service)
  yield driver
  driver.quit()


@pytest.fixture
def page(browser, path):
  """The page, opened wide and light; nothing may go wrong while it is open."""
  _look(browser, 1200, 'light')
  browser.get('about:blank')
  for log in ('browser', 'performance'):
    browser.get_log(log)
  browser.get(path.as_uri())
  yield browser
  said = [e for e in browser.get_log('browser') if e['level'] != 'INFO']
  assert not said
  events = [
    json.loads(e['message'])['message'] for e in browser.get_log('performance')
  ]
  asked = [
    e['params']['request']['url']
    for e in events
    if e['method'] == 'Network.requestWillBeSent'
  ]
  assert {url for url in asked if not url.startswith('data:')} == {
    path.as_uri()
  }


def _look(browser, width, scheme, media=''):
  browser.execute_cdp_cmd(
    'Emulation.setDeviceMetricsOverride',
    {'width': width, 'height': 900, 'deviceScaleFactor': 1, 'mobile': False},
  )
  feature = {'name': 'prefers-color-scheme', 'value': scheme}
  browser.execute_cdp_cmd(
    'Emulation.setEmulatedMedia', {'media': media, 'features': [feature]}
  )


def _column(page, head):
  return page.execute_script(
    """const i = [...document.querySelectorAll('#table th')].findIndex(
      (th) => th.textContent.startsWith(arguments[0]));
    return [...document.querySelectorAll('#table tbody tr')].map(
      (tr) => tr.cells[i].textContent);""",
    head,
  )


def _press(page, head):
  for button in page.find_elements('css selector', '#table th button'):
    if button.text.startswith(head):
      button.click()
      return


def test_pressing_a_heading_sorts_the_table(page):
  _press(page, 'test accuracy')
  up = [float(text.split()[0]) for text in _column(page, 'test accuracy')]
  assert up == sorted(up) and len(set(up)) == 4
  assert _column(page, 'strategy')[-1] == 'batch_norm'
  _press(page, 'test accuracy')
  assert _column(page, 'strategy')[0] == 'batch_norm'
  _press(page, 'strategy')
  assert _column(page, 'strategy') == [
    'activation_penalty', 'batch_norm', 'none', 'renormalize',
  ]  # fmt: skip


def test_what_was_not_measured_sorts_last_both_ways(page):
  for _ in range(2):
    _press(page, 'undone')
    assert _column(page, 'undone') == ['40', '-', '-', '-']


@pytest.mark.parametrize('table', ['table', 'comparisons'])
def test_a_phone_sorts_by_the_same_headings(page, table):
  _look(page, 360, 'light')
  buttons = page.find_elements('css selector', f'#{table} th button')
  cells = page.find_elements(
    'css selector', f'#{table} tbody tr:first-child td'
  )
  assert len(buttons) == len(cells)
  for button in buttons:
    assert button.is_displayed() and button.rect['height'] >= 24
    assert button.rect['x'] >= 0
    assert button.rect['x'] + button.rect['width'] <= 360
  if table == 'table':
    _press(page, 'test accuracy')
    _press(page, 'test accuracy')
    assert _column(page, 'strategy')[0] == 'batch_norm'
    assert _column(page, 'strategy')[-1] == 'none'


def _hover(page, figure, x, y=0.5):
  """Points at a share of the axes of a figure; returns what the tip says."""
  page.execute_script(
    'document.getElementById(arguments[0]).scrollIntoView()', figure
  )
  at = page.execute_script(
    """const figure = document.getElementById(arguments[0]);
    const data = JSON.parse(figure.querySelector('script').textContent);
    const [left, right, top, bottom] = data[0].box;
    const point = new DOMPoint(left + arguments[1] * (right - left),
      top + arguments[2] * (bottom - top)).matrixTransform(
      figure.querySelector('svg').getScreenCTM());
    return [point.x, point.y];""",
    figure, x, y,
  )  # fmt: skip
  page.execute_cdp_cmd(
    'Input.dispatchMouseEvent', {'type': 'mouseMoved', 'x': at[0], 'y': at[1]}
  )
  return page.find_element('id', 'tip')


def test_a_pointer_over_a_curve_shows_its_values(page, path):
  df = results.load(path.parent)
  data = curve_data(df[df.phase == 'final'], 'validation/accuracy')
  tip = _hover(page, 'validation_accuracy', 0.99)
  assert tip.is_displayed()
  head, *rows = tip.text.splitlines()
  assert head == 'step 1,000'
  rows = dict(zip(rows[::2], rows[1::2], strict=True))
  assert list(rows) == [
    'batch_norm', 'renormalize', 'activation_penalty', 'none',
  ]  # fmt: skip
  for name, (_, found) in data.items():
    numbers = [float(n) for n in re.findall(r'[\d.]+', rows[name])]
    expected = [100 * values[-1] for values in found]
    assert numbers == pytest.approx(expected, abs=0.051)
  for x, y in ((0.5, 1.1), (-3, 0.5)):  # the axis' name; off the figure
    _hover(page, 'validation_accuracy', 0.5)
    assert not _hover(page, 'validation_accuracy', x, y).is_displayed()


def test_a_pointer_over_a_panel_names_the_sites(page):
  head, *rows = _hover(page, 'sites_over_steps', 0.5).text.splitlines()
  assert re.fullmatch(r'step [\d,]+', head)
  assert sorted(rows[::2]) == [f'site_{k}' for k in range(6)]


def test_every_figure_with_curves_answers_the_pointer(page):
  figures = page.execute_script(
    """return [...document.querySelectorAll('figure')].filter(
      (f) => f.querySelector('script')).map((f) => f.id);"""
  )
  assert len(figures) >= 6
  for figure in figures:
    tip = _hover(page, figure, 0.5)
    assert tip.is_displayed() and 'nan' not in tip.text.lower(), figure


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [360, 768, 1200])
def test_nothing_is_wider_than_the_screen(page, width, scheme):
  _look(page, width, scheme)
  root = 'document.documentElement.'
  assert page.execute_script(f'return {root}scrollWidth') <= width


def test_verdict_and_picture_fill_a_wide_screen_and_need_no_scrolling(page):
  _look(page, 1200, 'light')
  verdict, picture, whole, height = page.execute_script(
    """const box = (path) => {
        const found = [...document.querySelectorAll(path)];
        if (found.length !== 1) throw `${found.length} of ${path}`;
        const b = found[0].getBoundingClientRect();
        return {left: b.left, right: b.right, top: b.top, bottom: b.bottom};
      };
    window.scrollTo(0, 0);
    return [box('#picture h1'), box('#picture svg'), box('#picture'),
      window.innerHeight];"""
  )
  assert verdict['right'] <= picture['left']
  width = whole['right'] - whole['left']
  assert picture['right'] - verdict['left'] > 0.9 * width
  assert picture['right'] - picture['left'] > 0.4 * width
  assert max(verdict['bottom'], picture['bottom']) <= height


def _colors(page):
  return page.execute_script(
    """const svg = document.querySelector('figure svg');
    return [getComputedStyle(document.body).backgroundColor,
      getComputedStyle(document.body).color,
      getComputedStyle(svg.querySelector('text')).fill];"""
  )


def _lightness(color):
  return sum(map(int, re.findall(r'\d+', color)[:3])) / 3


def test_figures_and_page_follow_light_and_dark(page):
  for scheme, sign in (('light', 1), ('dark', -1)):
    _look(page, 1200, scheme)
    paper, *inks = map(_lightness, _colors(page))
    assert all(sign * (paper - ink) > 150 for ink in inks), scheme


def test_it_prints_black_on_white_on_few_pages(page):
  _look(page, 800, 'dark', 'print')
  assert all(_lightness(ink) < 60 for ink in _colors(page)[1:])
  _look(page, 800, 'dark')
  pdf = page.execute_cdp_cmd('Page.printToPDF', {'preferCSSPageSize': True})
  pdf = base64.b64decode(pdf['data'])
  assert pdf[:5] == b'%PDF-'
  assert 2 <= len(re.findall(rb'/Type\s*/Page\b', pdf)) <= 6
