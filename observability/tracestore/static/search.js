import { ask, colour, duration, html, moment } from './shared.js';

const form = document.getElementById('search');
const found = document.getElementById('found');
const wanted = new URLSearchParams(location.search);
const HOURS = { '15m': 0.25, '1h': 1, '6h': 6, '48h': 48 };

function fill(select, values, chosen) {
  select.replaceChildren(html('option', { value: '' }, 'all'), ...values.map((value) => html('option', { value }, value)));
  select.value = values.includes(chosen) ? chosen : '';
}

async function fillOperations(chosen) {
  const service = form.elements.service.value;
  const answer = service ? await ask(`/api/v3/operations?service=${encodeURIComponent(service)}`) : { operations: [] };
  fill(form.elements.operation, [...new Set(answer.operations.map((operation) => operation.name))], chosen);
}

function query() {
  const { service, operation, minDuration, tags, lookback, limit } = form.elements;
  const now = Date.now();
  const parameters = new URLSearchParams({
    'query.startTimeMin': new Date(now - HOURS[lookback.value] * 3.6e6).toISOString(),
    'query.startTimeMax': new Date(now + 6e4).toISOString(),
    'query.searchDepth': limit.value,
  });
  if (service.value) parameters.set('query.serviceName', service.value);
  if (operation.value) parameters.set('query.operationName', operation.value);
  if (minDuration.value) parameters.set('query.durationMin', minDuration.value);
  if (tags.value) parameters.set('query.attributes', tags.value);
  return parameters;
}

function row(summary) {
  const start = BigInt(summary.minStartTimeUnixNano);
  const took = BigInt(summary.maxEndTimeUnixNano) - start;
  const services = summary.services.map((service) =>
    html('span', { style: `color:${colour(service.name)}` }, `${service.name} ${service.spanCount}  `));
  return html('tr', {},
    html('td', {}, moment(start)),
    html('td', {}, html('a', { href: `/trace/${summary.traceId}` }, `${summary.rootServiceName} ${summary.rootOperationName}`),
      html('div', { class: 'faint mono' }, summary.traceId)),
    html('td', {}, services),
    html('td', { class: 'number' }, `${summary.spanCount}`),
    html('td', { class: 'number bad' }, summary.errorSpanCount ? `${summary.errorSpanCount}` : ''),
    html('td', { class: 'number warn' }, summary.orphanSpanCount ? `${summary.orphanSpanCount}` : ''),
    html('td', { class: 'number' }, duration(took)));
}

async function find() {
  try {
    const { summaries } = await ask(`/api/v3/trace-summaries?${query()}`);
    if (!summaries.length) return found.replaceChildren(html('p', { class: 'message' }, 'No traces found.'));
    const heads = ['Time', 'Trace', 'Services', 'Spans', 'Failed', 'Orphans', 'Duration'];
    found.replaceChildren(html('table', {},
      html('thead', {}, html('tr', {}, heads.map((head, at) => html('th', { class: at > 2 ? 'number' : '' }, head)))),
      html('tbody', {}, summaries.map(row))));
  } catch (error) {
    found.replaceChildren(html('p', { class: 'message bad' }, error.message));
  }
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  history.replaceState(null, '', `/search?${new URLSearchParams(new FormData(form))}`);
  find();
});
form.elements.service.addEventListener('change', () => fillOperations(''));
document.getElementById('open').addEventListener('submit', (event) => {
  event.preventDefault();
  location.href = `/trace/${event.target.elements.id.value.toLowerCase().padStart(32, '0')}`;
});

for (const name of ['minDuration', 'tags', 'lookback', 'limit']) {
  if (wanted.get(name)) form.elements[name].value = wanted.get(name);
}
try {
  fill(form.elements.service, (await ask('/api/v3/services')).services, wanted.get('service'));
  await fillOperations(wanted.get('operation'));
} catch (error) {
  found.replaceChildren(html('p', { class: 'message bad' }, error.message));
}
find();
