import { colour, duration, html, moment, svg } from './shared.js';
import { criticalPath, facts, load, order } from './spans.js';

const ROW = 24;
const TOP = 26;
const MAX_ROWS = 5000;
const id = location.pathname.split('/').pop();
const wanted = new URLSearchParams(location.search).get('uiFind');
const place = document.getElementById('waterfall');
let chosen = wanted;
const detail = document.getElementById('detail');

function show(span, spans) {
  chosen = span.id;
  for (const row of document.querySelectorAll('.row.chosen')) row.classList.remove('chosen');
  document.getElementById(`span-${span.id}`)?.classList.add('chosen');
  const lines = [
    ['span', span.id], ['service', span.service], ['kind', span.kind], ['start', moment(span.start)],
    ['duration', duration(span.end - span.start)],
    ...(span.error ? [['failed', span.message || span.attributes.get('error.type') || 'yes']] : []),
    ...(span.orphan ? [['orphan', `its parent ${span.parent} is not in the trace`]] : []),
    ...span.attributes, ...span.resource,
  ];
  const links = span.links.map((link) => {
    const inside = spans.get(link.spanId);
    return html('tr', {}, html('td', { class: 'faint' }, 'link'), html('td', {},
      html('a', { href: `/trace/${link.traceId}?uiFind=${link.spanId}` },
        inside ? `${inside.service} ${inside.name}` : `trace ${link.traceId}`)));
  });
  const events = span.events.map((event) => html('tr', {}, html('td', { class: 'faint' }, 'event'),
    html('td', {}, `${event.name} +${duration(BigInt(event.timeUnixNano ?? 0) - span.start)} `,
      [...facts(event.attributes)].map(([key, value]) => `${key}=${value} `).join(''))));
  detail.replaceChildren(html('h2', {}, `${span.service} ${span.name}`), html('table', {}, html('tbody', {},
    lines.map(([key, value]) => html('tr', {}, html('td', { class: 'faint' }, key), html('td', { class: 'mono' }, value))),
    links, events)));
}

function line(span, spans, scale, left, width) {
  const y = TOP + span.at * ROW;
  const middle = y + ROW / 2;
  const indent = 8 + Math.min(span.depth, 20) * 13;
  const x = left + scale(span.start);
  const length = Math.max(scale(span.end) - scale(span.start), 2);
  const isLinked = span.kind === 'consumer' && span.links.length > 0;
  const words = `${isLinked ? '⇢ ' : ''}${span.service}  ${span.name}`;
  const room = Math.max(Math.floor((left - indent - 12) / 6.4), 8);
  const after = x + length + 90 < left + width;
  const notes = [duration(span.end - span.start),
    span.error ? span.attributes.get('error.type') || 'failed' : '', span.orphan ? 'orphan' : ''].filter(Boolean).join(' · ');
  return svg('g', { class: span.id === chosen ? 'row chosen' : 'row', id: `span-${span.id}`, tabindex: 0, role: 'button',
    onclick: () => show(span, spans), onkeydown: (event) => event.key === 'Enter' && show(span, spans) },
  svg('title', {}, `${words} ${notes}`),
  svg('rect', { class: 'back', x: 0, y, width: left + width, height: ROW }),
  svg('rect', { x: indent - 5, y: y + 5, width: 3, height: ROW - 10, fill: colour(span.service) }),
  svg('text', { x: indent, y: middle, class: span.error ? 'bad' : span.orphan ? 'warn' : '' },
    words.length > room ? `${words.slice(0, room - 1)}…` : words),
  span.critical ? svg('rect', { class: 'critical', x, y: y + ROW - 4, width: length, height: 2 }) : null,
  svg('rect', { x, y: y + 6, width: length, height: ROW - 12, rx: 2, fill: colour(span.service),
    stroke: span.error ? 'var(--bad)' : span.orphan ? 'var(--warn)' : 'none', 'stroke-width': 1.5,
    'stroke-dasharray': span.orphan ? '3 2' : null }),
  svg('text', { x: after ? x + length + 5 : x - 5, y: middle, 'text-anchor': after ? 'start' : 'end',
    class: span.error ? 'bad' : span.orphan ? 'warn' : 'faint' }, notes));
}

function leads(span, spans, scale, left) {
  const parts = [];
  const y = TOP + span.at * ROW + ROW / 2;
  const parent = spans.get(span.parent);
  if (parent && parent !== span) {
    const x = 8 + Math.min(parent.depth, 20) * 13 - 3;
    parts.push(svg('path', { class: 'lead', d: `M${x} ${TOP + parent.at * ROW + ROW - 4}V${y}H${x + 8}` }));
  }
  for (const link of span.links) {
    const from = spans.get(link.spanId);
    if (!from) continue;
    const x = left + scale(from.end);
    parts.push(svg('path', { class: 'link',
      d: `M${x} ${TOP + from.at * ROW + ROW / 2}V${y}H${left + scale(span.start)}` }));
  }
  return parts;
}

function draw(spans) {
  const rows = order(spans).slice(0, MAX_ROWS);
  const critical = criticalPath(rows);
  for (const span of rows) span.critical = critical.has(span);
  const first = rows.reduce((least, span) => (span.start < least ? span.start : least), rows[0].start);
  const last = rows.reduce((most, span) => (span.end > most ? span.end : most), rows[0].end);
  const total = Math.max(Number(last - first), 1);
  const whole = Math.max(place.clientWidth, 640);
  const left = Math.round(whole * 0.4);
  const width = whole - left - 12;
  const scale = (time) => (Number(time - first) / total) * width;
  const height = TOP + rows.length * ROW + 4;
  const grid = [0, 0.25, 0.5, 0.75, 1].map((part) => {
    const x = left + part * width;
    const anchor = part === 1 ? 'end' : part === 0 ? 'start' : 'middle';
    return svg('g', {}, svg('line', { class: 'grid', x1: x, x2: x, y1: TOP - 6, y2: height }),
      svg('text', { class: 'faint', x, y: 10, 'text-anchor': anchor }, duration(total * part)));
  });
  place.replaceChildren(svg('svg', { class: 'waterfall', viewBox: `0 0 ${whole} ${height}`, height },
    grid, rows.map((span) => line(span, spans, scale, left, width)),
    svg('g', { 'pointer-events': 'none' }, rows.map((span) => leads(span, spans, scale, left)))));
  return { rows, first, total };
}

function head({ rows, first, total }, spans) {
  const services = [...new Set(rows.map((span) => span.service))];
  const failed = rows.filter((span) => span.error).length;
  const orphans = rows.filter((span) => span.orphan).length;
  document.title = `${rows[0].service} ${rows[0].name}`;
  document.getElementById('heading').textContent = id;
  document.getElementById('facts').replaceChildren(
    html('strong', {}, document.title),
    ` · ${moment(first)} · ${duration(total)} · ${spans.size} spans · ${services.length} services`,
    failed ? html('span', { class: 'bad' }, ` · ${failed} failed`) : '',
    orphans ? html('span', { class: 'warn' }, ` · ${orphans} ${orphans === 1 ? 'orphan' : 'orphans'}`) : '',
    html('span', {}, ' · ', html('a', { href: `/api/v3/traces/${id}`, download: `${id}.json` }, 'OTLP JSON'),
      ' · ', html('a', { href: `/compare?before=${id}` }, 'compare')));
  document.getElementById('legend').replaceChildren(...services.map((service) =>
    html('span', {}, html('i', { style: `background:${colour(service)}` }), service)),
  html('span', {}, html('i', { class: 'critical' }), 'critical path'));
}

try {
  const spans = await load(id);
  head(draw(spans), spans);
  let asked = 0;
  addEventListener('resize', () => {
    cancelAnimationFrame(asked);
    asked = requestAnimationFrame(() => {
      for (const span of spans.values()) span.children = [];
      draw(spans);
    });
  });
  if (wanted && spans.has(wanted)) {
    show(spans.get(wanted), spans);
    document.getElementById(`span-${wanted}`)?.scrollIntoView({ block: 'center' });
  }
} catch (error) {
  place.replaceChildren(html('p', { class: 'message bad' }, `${error.message}. A trace of a moment ago may still be on its way: reload.`));
}
