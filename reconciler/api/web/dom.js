// Elements made of names, properties and children. Text stays text: nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";

export const h = (tag, props = {}, ...children) => fill(document.createElement(tag), props, children);
export const s = (tag, props = {}, ...children) => fill(document.createElementNS(SVG, tag), props, children);

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "value" && "value" in element) element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const $ = (id) => document.getElementById(id);

// 1234567 -> "1.2 M"
export function short(number) {
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (number >= size) return `${(number / size).toFixed(number >= 100 * size ? 0 : 1)} ${unit}`;
  }
  return number >= 10 || number === 0 ? String(Math.round(number)) : number.toFixed(1).replace(/\.0$/, "");
}

export const bits = (bytes) => `${short(bytes * 8)}bit/s`.replace(/(\d)bit/, "$1 bit");
export const packets = (rate) => `${short(rate)} p/s`.replace(/ ([GMk]) p/, "$1 p");
export const grouped = (number) => Number(number).toLocaleString("en").replaceAll(",", " ");
export const several = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
