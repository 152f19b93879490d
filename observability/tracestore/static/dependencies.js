// Who calls whom, as traces tell: services in columns by how far they are from where calls come in.

import { ask, colour, html, svg } from './shared.js';

const form = document.getElementById('choose');
const place = document.getElementById('map');
const found = document.getElementById('found');
const wanted = new URLSearchParams(location.search);
const WIDTH = 150;
const HEIGHT = 34;
const STEP = 74;

// A service's column is the longest way to it that meets no service twice.
function columns(edges, services) {
  const column = new Map(services.map((service) => [service, 0]));
  const visit = (service, path) => {
    for (const { parent, child } of edges) {
      if (parent !== service || path.includes(child) || column.get(child) > path.length) continue;
      column.set(child, Math.max(column.get(child), path.length));
      visit(child, [...path, child]);
    }
  };
  const called = new Set(edges.map((edge) => edge.child));
  const first = services.filter((service) => !called.has(service));
  for (const service of first.length ? first : services.slice(0, 1)) visit(service, [service]);
  return column;
}

function draw(edges) {
  const services = [...new Set(edges.flatMap(({ parent, child }) => [parent, child]))].sort();
  const column = columns(edges, services);
  const depth = Math.max(...column.values()) + 1;
  const whole = Math.max(place.clientWidth, 640);
  const gap = depth > 1 ? (whole - WIDTH - 8) / (depth - 1) : 0;
  const rows = new Map();
  const at = new Map(services.map((service) => {
    const number = rows.get(column.get(service)) ?? 0;
    rows.set(column.get(service), number + 1);
    return [service, { x: 4 + column.get(service) * gap, y: 8 + number * STEP + (column.get(service) % 2) * 24 }];
  }));
  const most = Math.max(...edges.map((edge) => Number(edge.callCount)));
  const lines = edges.map(({ parent, child, callCount }) => {
    const from = at.get(parent);
    const to = at.get(child);
    const isBack = to.x <= from.x;
    const [x1, y1] = [from.x + (isBack ? WIDTH / 2 : WIDTH), from.y + (isBack ? HEIGHT : HEIGHT / 2)];
    const [x2, y2] = [to.x + (isBack ? WIDTH / 2 : 0), to.y + (isBack ? HEIGHT : HEIGHT / 2)];
    const bend = isBack ? 46 : (x2 - x1) / 2;
    const curve = isBack
      ? `M${x1} ${y1}C${x1} ${y1 + bend} ${x2} ${y2 + bend} ${x2} ${y2}`
      : `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
    return svg('path', { class: 'edge', d: curve, 'stroke-width': 1 + 4 * Math.sqrt(callCount / most) },
      svg('title', {}, `${parent} → ${child}: ${callCount} calls`));
  });
  const boxes = services.map((service) => svg('a', { href: `/search?service=${encodeURIComponent(service)}` },
    svg('rect', { x: at.get(service).x, y: at.get(service).y, width: WIDTH, height: HEIGHT, rx: 6,
      class: 'box', stroke: colour(service) }),
    svg('text', { x: at.get(service).x + WIDTH / 2, y: at.get(service).y + HEIGHT / 2, 'text-anchor': 'middle' }, service)));
  const height = Math.max(...[...at.values()].map(({ y }) => y)) + HEIGHT + 56;
  place.replaceChildren(svg('svg', { class: 'waterfall map', viewBox: `0 0 ${whole} ${height}`, height,
    role: 'img', 'aria-label': 'Which service calls which' }, lines, boxes));
}

async function show() {
  const hours = Number(form.elements.hours.value);
  try {
    const answer = await ask(`/api/dependencies?endTs=${Date.now()}&lookback=${Math.round(hours * 3.6e6)}`);
    const edges = answer.data ?? [];
    if (!edges.length) {
      place.replaceChildren(html('p', { class: 'message' }, 'No service called another.'));
      return found.replaceChildren();
    }
    draw(edges);
    found.replaceChildren(html('table', {},
      html('thead', {}, html('tr', {}, html('th', {}, 'Who'), html('th', {}, 'Whom'), html('th', { class: 'number' }, 'Calls'))),
      html('tbody', {}, edges.map(({ parent, child, callCount }) => html('tr', {},
        html('td', {}, parent), html('td', {}, child), html('td', { class: 'number' }, `${callCount}`))))));
  } catch (error) {
    place.replaceChildren(html('p', { class: 'message bad' }, error.message));
  }
}

if (wanted.get('hours')) form.elements.hours.value = wanted.get('hours');
form.elements.hours.addEventListener('change', () => {
  history.replaceState(null, '', `/dependencies?hours=${form.elements.hours.value}`);
  show();
});
addEventListener('resize', () => requestAnimationFrame(show));
show();
