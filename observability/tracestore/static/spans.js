// A trace as the pages need it: spans with their places, from the OTLP JSON of the query API.

import { ask } from './shared.js';

const KINDS = ['', 'internal', 'server', 'client', 'producer', 'consumer'];

const text = (value) => {
  const [kind, content] = Object.entries(value ?? {})[0] ?? ['', ''];
  if (kind === 'arrayValue') return (content.values ?? []).map(text).join(', ');
  return typeof content === 'object' ? JSON.stringify(content) : String(content);
};
export const facts = (attributes) => new Map((attributes ?? []).map(({ key, value }) => [key, text(value)]));

function read(result) {
  const spans = new Map();
  for (const group of result.resourceSpans ?? []) {
    const resource = facts(group.resource?.attributes);
    for (const scoped of group.scopeSpans ?? []) {
      for (const span of scoped.spans ?? []) {
        if (spans.has(span.spanId)) continue;
        const start = BigInt(span.startTimeUnixNano ?? 0);
        spans.set(span.spanId, {
          id: span.spanId, parent: span.parentSpanId ?? '', name: span.name ?? '',
          kind: KINDS[span.kind ?? 0] ?? '', start, end: BigInt(span.endTimeUnixNano ?? start),
          error: span.status?.code === 2, message: span.status?.message ?? '',
          attributes: facts(span.attributes), links: span.links ?? [], events: span.events ?? [],
          resource, service: resource.get('service.name') ?? 'unknown_service', depth: 0, children: [],
        });
      }
    }
  }
  return spans;
}

export function order(spans) {
  const sorted = [...spans.values()].sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  const tops = [];
  for (const span of sorted) {
    const parent = spans.get(span.parent);
    span.orphan = span.parent !== '' && !parent;
    if (parent) parent.children.push(span);
    else tops.push(span);
  }
  const rows = [];
  const seen = new Set();
  for (const top of [...tops, ...sorted]) {
    const waiting = [[top, 0]];
    while (waiting.length) {
      const [span, depth] = waiting.pop();
      if (seen.has(span)) continue;
      seen.add(span);
      span.depth = depth;
      span.at = rows.length;
      rows.push(span);
      for (const child of span.children.toReversed()) waiting.push([child, depth + 1]);
    }
  }
  return rows;
}

// The spans that decide how long the root takes: from it, the child that ends last. Work that goes
// on after its parent's end is not waited for.
export function criticalPath(rows) {
  const path = new Set();
  let span = rows.find((row) => row.parent === '') ?? rows[0];
  while (span && !path.has(span)) {
    path.add(span);
    const waited = span.children.filter((child) => child.end <= span.end);
    span = waited.reduce((last, child) => (!last || child.end > last.end ? child : last), null);
  }
  return path;
}

export async function load(id) {
  return read((await ask(`/api/v3/traces/${encodeURIComponent(id)}`)).result);
}
