// What all pages need. Times are BigInt nanoseconds, which a number cannot hold exactly.

const SVG = 'http://www.w3.org/2000/svg';

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

export const html = (name, attributes = {}, ...children) =>
  build(document.createElement(name), attributes, children);

export const svg = (name, attributes = {}, ...children) =>
  build(document.createElementNS(SVG, name), attributes, children);

export function duration(nanoseconds) {
  const number = Number(nanoseconds);
  if (number < 1e5) return `${Math.round(number / 1e3)}µs`;
  if (number < 1e9) return `${(number / 1e6).toFixed(1)}ms`;
  return `${(number / 1e9).toFixed(2)}s`;
}

export function moment(nanoseconds) {
  return new Date(Number(nanoseconds / 1000000n)).toLocaleString();
}

export function colour(service) {
  let hash = 2166136261;
  for (const character of service) hash = Math.imul(hash ^ character.codePointAt(0), 16777619);
  return `hsl(${(hash >>> 0) % 360} 55% 52%)`;
}

export async function ask(path) {
  const response = await fetch(path, { headers: { Accept: 'application/json' } });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error?.message ?? `the store answered ${response.status}`);
  return answer;
}
