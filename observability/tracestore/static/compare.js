// Two traces side by side: spans are paired by what they do, under whom, and as the how manieth.

import { colour, duration, html, svg } from './shared.js';
import { load, order } from './spans.js';

const form = document.getElementById('choose');
const found = document.getElementById('found');
const wanted = new URLSearchParams(location.search);
const BAR = 160;

// The places of a trace's spans, in the order of its tree.
function places(spans) {
  const met = new Map();
  const named = new Map();
  for (const span of order(spans)) {
    const above = named.get(spans.get(span.parent)) ?? '';
    const word = `${above}\n${span.service} ${span.name} ${span.kind}`;
    const times = met.get(word) ?? 0;
    met.set(word, times + 1);
    named.set(span, `${word} ${times}`);
  }
  return new Map([...named].map(([span, place]) => [place, span]));
}

// Both orders in one: what only the second has follows what stands before it there.
function merged(first, second) {
  const all = [...first.keys()];
  let at = 0;
  for (const place of second.keys()) {
    const known = all.indexOf(place);
    if (known >= 0) at = known + 1;
    else all.splice(at++, 0, place);
  }
  return all;
}

const took = (span) => (span ? Number(span.end - span.start) : 0);

function cell(span, longest) {
  if (!span) return html('td', { class: 'faint' }, 'none');
  const length = Math.max((took(span) / longest) * BAR, 2);
  return html('td', { class: span.error ? 'bad' : '' },
    svg('svg', { width: BAR, height: 10 },
      svg('rect', { width: length, height: 10, rx: 2, fill: colour(span.service) })),
    ` ${duration(took(span))}${span.error ? ' failed' : ''}`);
}

function row(before, after, longest) {
  const span = before ?? after;
  const longer = before && after ? took(after) - took(before) : null;
  const sign = longer === null ? '' : longer < 0 ? '-' : '+';
  const isMuch = longer !== null && Math.abs(longer) > longest / 20;
  return html('tr', { class: before && after ? '' : 'changed' },
    html('td', { style: `padding-left:${0.6 + Math.min(span.depth, 20)}rem` },
      html('strong', { style: `color:${colour(span.service)}` }, span.service), ` ${span.name}`),
    cell(before, longest), cell(after, longest),
    html('td', { class: `number ${isMuch ? (longer > 0 ? 'bad' : 'good') : 'faint'}` },
      longer === null ? (before ? 'only before' : 'only after') : `${sign}${duration(Math.abs(longer))}`));
}

async function compare() {
  const { before, after } = form.elements;
  try {
    const [first, second] = (await Promise.all([before, after].map((field) =>
      load(field.value.toLowerCase().padStart(32, '0'))))).map(places);
    const longest = Math.max(...[...first.values(), ...second.values()].map(took), 1);
    const heads = ['Span', 'Before', 'After', 'Difference'];
    found.replaceChildren(html('table', {},
      html('thead', {}, html('tr', {}, heads.map((head, at) => html('th', { class: at > 2 ? 'number' : '' }, head)))),
      html('tbody', {}, merged(first, second).map((place) => row(first.get(place), second.get(place), longest)))));
  } catch (error) {
    found.replaceChildren(html('p', { class: 'message bad' }, error.message));
  }
}

for (const name of ['before', 'after']) form.elements[name].value = wanted.get(name) ?? '';
form.addEventListener('submit', (event) => {
  event.preventDefault();
  history.replaceState(null, '', `/compare?${new URLSearchParams(new FormData(form))}`);
  compare();
});
if (wanted.get('before') && wanted.get('after')) compare();
