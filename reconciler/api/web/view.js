// What part of the graph is seen, and what is chosen in it: by mouse, fingers and keys.

import { $, s } from "./dom.js";
import { drawn } from "./draw.js";

const canvas = $("canvas");
export const world = s("g", { id: "world" });
canvas.append(world);
const view = { x: 0, y: 0, scale: 1, moved: false };
let chosen = "", choose = () => {};

export const aspect = () => Math.max(0.4, canvas.clientWidth / Math.max(1, canvas.clientHeight));

function place() {
  world.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.scale})`);
  canvas.classList.toggle("far", view.scale < 0.5);
  canvas.classList.toggle("very-far", view.scale < 0.28);
}

export function fit() {
  const margin = canvas.clientWidth < 600 ? 14 : 36, top = 44, bottom = $("legend").offsetHeight + 14, { clientWidth: width, clientHeight: height } = canvas;
  const scale = Math.min((width - 2 * margin) / Math.max(1, drawn.width), (height - top - bottom) / Math.max(1, drawn.height));
  view.scale = Math.max(0.05, Math.min(1.25, scale));
  view.x = (width - drawn.width * view.scale) / 2;
  view.y = top + (height - top - bottom - drawn.height * view.scale) / 2;
  view.moved = false;
  place();
}

export const refit = () => { if (!view.moved) fit(); };

export function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const scale = Math.max(0.05, Math.min(3, view.scale * factor));
  view.x = x - (x - view.x) * (scale / view.scale);
  view.y = y - (y - view.y) * (scale / view.scale);
  Object.assign(view, { scale, moved: true });
  place();
}

// Mark a box, and bring it into sight. `id`: "cube/<name>", "netdev/<name>", "host/<name>".
export function show(id, bring = true) {
  chosen = id;
  for (const element of world.querySelectorAll("[data-id]")) element.classList.toggle("chosen", element.dataset.id === id);
  const box = drawn.boxes.get(id);
  if (!box || !bring) return;
  const x = box.x * view.scale + view.x, y = box.y * view.scale + view.y;
  if (x > 60 && y > 40 && x < canvas.clientWidth - 60 && y < canvas.clientHeight - 40 && view.scale > 0.28) return;
  view.scale = Math.max(view.scale, 0.7);
  view.x = canvas.clientWidth / 2 - box.x * view.scale;
  view.y = canvas.clientHeight / 2 - box.y * view.scale;
  view.moved = true;
  place();
}

export function whenChosen(action) { choose = action; }

// The nearest box in a direction from the chosen one.
function step(dx, dy) {
  const from = drawn.boxes.get(chosen);
  if (!from) return [...drawn.boxes.values()].sort((one, other) => one.x + one.y - other.x - other.y)[0]?.id;
  const costs = [...drawn.boxes.values()].filter((box) => box !== from).map((box) => {
    const along = (box.x - from.x) * dx + (box.y - from.y) * dy, across = Math.abs((box.x - from.x) * dy) + Math.abs((box.y - from.y) * dx);
    return along > 1 ? [along + 2 * across, box.id] : [Infinity, ""];
  });
  return costs.sort(([one], [other]) => one - other)[0]?.[1];
}

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key in MOVES) {
    const next = step(...MOVES[event.key]);
    if (next) { show(next); choose(next, false); }
  } else if (event.key === "Enter" && chosen) choose(chosen, true);
  else if (event.key === "+" || event.key === "=") zoom(1.25);
  else if (event.key === "-") zoom(0.8);
  else if (event.key === "0") fit();
  else return;
  event.preventDefault();
});

canvas.addEventListener("wheel", (event) => {
  const box = canvas.getBoundingClientRect();
  zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.clientX - box.left, event.clientY - box.top);
  event.preventDefault();
}, { passive: false });

// One finger or the mouse drags, two fingers zoom; what hardly moved was a click.
const held = new Map();
let travelled = 0;
canvas.addEventListener("pointerdown", (event) => {
  held.set(event.pointerId, { x: event.clientX, y: event.clientY });
  if (held.size === 1) travelled = 0;
});
canvas.addEventListener("pointermove", (event) => {
  const before = held.get(event.pointerId);
  if (!before) return;
  const dx = event.clientX - before.x, dy = event.clientY - before.y;
  travelled += Math.abs(dx) + Math.abs(dy);
  if (travelled > 4 && !canvas.hasPointerCapture(event.pointerId)) canvas.setPointerCapture(event.pointerId);
  const other = [...held].find(([id]) => id !== event.pointerId)?.[1];
  if (other) {
    const box = canvas.getBoundingClientRect(), was = Math.hypot(before.x - other.x, before.y - other.y);
    const now = Math.hypot(event.clientX - other.x, event.clientY - other.y);
    zoom(now / Math.max(1, was), (event.clientX + other.x) / 2 - box.left, (event.clientY + other.y) / 2 - box.top);
  } else if (travelled > 4) {
    Object.assign(view, { x: view.x + dx, y: view.y + dy, moved: true });
    place();
  }
  held.set(event.pointerId, { x: event.clientX, y: event.clientY });
});
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => held.delete(event.pointerId));
canvas.addEventListener("click", (event) => {
  if (travelled > 4) return;
  const id = event.target.closest("[data-id]")?.dataset.id ?? "";
  if (id.startsWith("group/")) return;
  show(id, false);
  choose(id, false);
});
new ResizeObserver(() => refit()).observe(canvas);
