'use strict';
// Sorts the table by the column whose heading is pressed.
const table = document.getElementById('table');
const heads = [...table.tHead.rows[0].cells];

function key(row, column) {
  const text = row.cells[column].dataset.sort;
  if (text === '') return null;
  const number = text === 'inf' ? Infinity : Number(text);
  return Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return a < b ? -1 : a > b ? 1 : 0;
}

function sortBy(column) {
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

heads.forEach((head, column) => {
  head.firstElementChild.addEventListener('click', () => sortBy(column));
});
