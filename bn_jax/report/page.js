'use strict';

// Tables: a press on a heading sorts by its column.
function key(row, column) {
  const text = row.cells[column].dataset.sort;
  if (text === '' || text === '-') return null;
  const number = text === 'inf' ? Infinity : parseFloat(text);
  return Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return a < b ? -1 : a > b ? 1 : 0;
}

function sortBy(table, heads, column) {
  const up = heads[column].getAttribute('aria-sort') !== 'ascending';
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => {
    const [x, y] = [key(a, column), key(b, column)];
    // What was not measured stays at the end either way.
    return up || x === null || y === null ? compare(x, y) : compare(y, x);
  });
  heads.forEach((head) => head.setAttribute('aria-sort', 'none'));
  heads[column].setAttribute('aria-sort', up ? 'ascending' : 'descending');
  table.tBodies[0].append(...rows);
}

document.querySelectorAll('table').forEach((table) => {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const sort = () => sortBy(table, heads, column);
    head.firstElementChild.addEventListener('click', sort);
  });
});

// Figures: a pointer over a curve shows the values at the nearest point.
const tip = document.getElementById('tip');

function nearest(values, x) {
  let best = 0;
  values.forEach((value, i) => {
    if (Math.abs(value - x) < Math.abs(values[best] - x)) best = i;
  });
  return best;
}

function row(series, i) {
  const line = document.createElement('div');
  const mark = document.createElement('i');
  mark.style.background = series.color;
  const [name, value] = [0, 1].map(() => document.createElement('span'));
  name.textContent = series.name;
  value.textContent = series.text[i];
  line.append(mark, name, value);
  return line;
}

function show(axes, x, event) {
  const at = axes.series.map((series) => nearest(series.x, x));
  const order = axes.series.map((_, i) => i);
  order.sort((a, b) => axes.series[a].y[at[a]] - axes.series[b].y[at[b]]);
  const head = document.createElement('strong');
  head.textContent = `${axes.x} ${axes.series[0].at[at[0]]}`;
  tip.replaceChildren(head, ...order.map((i) => row(axes.series[i], at[i])));
  tip.hidden = false;
  const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
  const left = Math.max(4, Math.min(event.pageX + 14, room));
  tip.style.left = `${left}px`;
  tip.style.top = `${event.pageY + 16}px`;
  return axes.series[0].x[at[0]];
}

function follow(figure, data) {
  const svg = figure.querySelector('svg');
  const cursor = document.createElementNS(svg.namespaceURI, 'line');
  cursor.setAttribute('class', 'cursor');
  const hide = () => { tip.hidden = true; cursor.remove(); };
  const move = (event) => {
    const matrix = svg.getScreenCTM().inverse();
    const point = new DOMPoint(event.clientX, event.clientY);
    const { x, y } = point.matrixTransform(matrix);
    const axes = data.find(({ box: [left, right, top, bottom] }) =>
      x >= left - 5 && x <= right + 5 && y >= top && y <= bottom);
    if (!axes) return hide();
    const where = show(axes, x, event);
    cursor.setAttribute('x1', where);
    cursor.setAttribute('x2', where);
    cursor.setAttribute('y1', axes.box[2]);
    cursor.setAttribute('y2', axes.box[3]);
    svg.append(cursor);
  };
  svg.addEventListener('pointermove', move);
  svg.addEventListener('pointerdown', move);
  svg.addEventListener('pointerleave', hide);
}

document.querySelectorAll('figure').forEach((figure) => {
  const data = figure.querySelector('script[type="application/json"]');
  if (data) follow(figure, JSON.parse(data.textContent));
});
