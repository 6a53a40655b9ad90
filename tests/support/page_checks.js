// Returns what is wrong with a page for people with a screen reader or weak eyes: names, headings, tables, sizes, contrast.
const found = [];
const shown = (element) => element.getClientRects().length > 0 && getComputedStyle(element).visibility !== 'hidden';
const name = (element) => element.id || `${element.tagName.toLowerCase()}.${element.className.baseVal ?? element.className}`;
const labelled = (element) => (element.getAttribute('aria-label') ?? '').trim() || (element.labels?.length ?
  [...element.labels].map((label) => label.textContent.trim()).join('') : element.textContent.trim());

const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
ids.filter((id, place) => ids.indexOf(id) !== place).forEach((id) => found.push(`id ${id} is used twice`));
for (const attribute of ['aria-labelledby', 'aria-describedby', 'for']) {
  for (const element of document.querySelectorAll(`[${attribute}]`)) {
    if (!document.getElementById(element.getAttribute(attribute))) found.push(`${name(element)}: ${attribute} is nowhere`);
  }
}
for (const element of document.querySelectorAll('a, button, input, select, textarea, summary, video, [role=img]')) {
  if (element.getClientRects().length && !labelled(element)) found.push(`${name(element)} has no label`);
}
for (const element of document.querySelectorAll('img')) {
  if (!element.hasAttribute('alt')) found.push(`${name(element)} has no alternative text`);
}
if (document.documentElement.lang !== 'en' || !document.title) found.push('no language or title');
for (const part of ['header', 'nav', 'main', 'footer', 'h1']) {
  if (!document.querySelector(part)) found.push(`no ${part}`);
}
if (document.querySelectorAll('h1').length !== 1) found.push('not one h1');
let level = 1;
for (const heading of document.querySelectorAll('main h1, main h2, main h3')) {
  const own = Number(heading.tagName[1]);
  if (own > level + 1) found.push(`${heading.textContent}: a heading of level ${own} after ${level}`);
  level = own;
}
if (document.querySelectorAll('nav [aria-current=page]').length !== 1) found.push('the navigation does not tell the view');
for (const table of document.querySelectorAll('table')) {
  if (!table.caption || !table.querySelector('th[scope]')) found.push('a table without caption or heads');
}
for (const element of document.querySelectorAll('a, button, select, input:not(.unseen)')) {
  const box = element.getBoundingClientRect();
  const inText = element.tagName === 'A' && element.closest('p');
  if (shown(element) && !inText && element.id !== 'skip' && element.type !== 'checkbox' && (box.height < 36 || box.width < 36)) {
    found.push(`${name(element)} is small: ${Math.round(box.width)} by ${Math.round(box.height)}`);
  }
}

const parts = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
const over = ([r, g, b, a = 1], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
const light = (colour) => {
  const [r, g, b] = colour.map((value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (one, other) => {
  const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
};
const ground = (element) => {
  const layers = [];
  for (let at = element; at; at = at.parentElement) layers.push(parts(getComputedStyle(at).backgroundColor));
  return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim() || !shown(element) || element.closest('.unseen, .skip, noscript, option, button:disabled')) continue;
  const style = getComputedStyle(element);
  const colour = element instanceof SVGElement ? style.fill : style.color;
  const size = parseFloat(style.fontSize);
  const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
  const reached = contrast(over(parts(colour), ground(element)), ground(element));
  if (reached < needed) found.push(`${name(element)} "${element.textContent.slice(0, 30)}": contrast ${reached.toFixed(2)}`);
  if (size < 11) found.push(`${name(element)} "${element.textContent.slice(0, 30)}": ${size} pixels`);
}
return [...new Set(found)];
