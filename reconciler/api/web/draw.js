// The graph as SVG. It is drawn anew when its shape changes; rates and colours are put into what is there.

import { arrange, isBetter, isCrowded, waysOf } from "./arrange.js";
import { $, bits, packets, s, short } from "./dom.js";
import { driftOf, dropRate, live, portRates } from "./live.js";
import { shapeOf } from "./shape.js";

const PAD = 12, LINE = 15, ROW = 20, COLUMN = 236, ROWS = 14;
let upright = false, small = false;
const pen = document.createElement("canvas").getContext("2d");
export const drawn = { boxes: new Map(), wires: [], width: 0, height: 0, shape: "" };

function wide(text, font) {
  pen.font = font;
  return pen.measureText(text).width;
}

// Draw the picture; gives whether anything moved.
export function draw(world, aspect) {
  const { boxes, wires } = shapeOf(live.picture);
  const shape = JSON.stringify([boxes, wires, Math.round(aspect * 2)]);
  if (shape === drawn.shape) return false;
  small = isCrowded(boxes);
  for (const wire of wires) wire.labelled = Boolean(wire.rated || wire.bundle);
  const { width, height } = arranged({ boxes, wires }, aspect);
  Object.assign(drawn, { boxes: new Map(boxes.map((box) => [box.id, box])), wires, width, height, shape });
  world.replaceChildren(s("g", { class: "wires" }, wires.map(wireOf)), s("g", { class: "boxes" }, boxes.map(boxOf)));
  $("nothing").hidden = boxes.length > 0;
  colour();
  return true;
}

// The way that is usual in a window of this shape, if the other one is not much better. A crowd reads as it may.
function arranged(shape, aspect) {
  const [usual, other] = waysOf(aspect).map((way) => () => {
    upright = way;
    for (const box of shape.boxes) measure(box);
    return arrange(shape, aspect, way);
  });
  const found = usual();
  if (small) return found;
  const turned = other();
  return isBetter(turned, found, aspect) ? turned : usual();
}

function measure(box) {
  if (box.kind === "group") {
    const columns = Math.ceil(box.rows.length / ROWS);
    box.width = columns * COLUMN + PAD;
    box.height = 28 + Math.ceil(box.rows.length / columns) * ROW + 8;
    return;
  }
  if (small) box.lines = [];
  const texts = [wide(box.title, "600 13px system-ui, sans-serif"), ...box.lines.map((line) => wide(line, "11px system-ui, sans-serif"))];
  box.width = Math.min(260, Math.max(small ? 56 : 84, Math.ceil(Math.max(...texts)) + 2 * PAD + 8 + (upright ? 34 : 0)));
  box.height = box.tall = (small ? 26 : 30) + Math.min(4, box.lines.length) * LINE;
}

function boxOf(box) {
  const left = box.x - box.width / 2, top = box.y - box.height / 2;
  const round = box.kind === "transparent" ? box.height / 2 : 8;
  const middle = box.kind === "group" ? 0 : Math.max(0, (box.height - box.tall) / 2);
  const group = s("g", { class: `box ${box.kind}`, transform: `translate(${left} ${top})`, data: { id: box.id }, role: "img" },
    s("rect", { width: box.width, height: box.height, rx: round }),
    s("text", { class: "title", x: PAD, y: 19 + middle }, box.title));
  if (box.kind === "cube") group.append(s("rect", { class: "stripe", width: 4, height: box.height - 16, x: 0, y: 8, rx: 2 }));
  for (const [number, line] of box.lines.slice(0, 4).entries()) {
    const more = number === 3 && box.lines.length > 4 ? `… ${box.lines.length - 3} more` : line;
    group.append(s("text", { class: "line", x: PAD, y: 35 + middle + number * LINE }, more));
  }
  if (box.kind === "group") group.append(...rowsOf(box));
  box.badge = upright ? s("text", { class: "badge", x: box.width - 8, y: 19 + middle, "text-anchor": "end" }) : s("text", { class: "badge", x: 3, y: -5 });
  group.append(box.badge);
  const far = Math.min((13 * (box.width - 12)) / wide(box.title, "600 13px system-ui, sans-serif"), box.height * 0.8);
  group.style.setProperty("--far", `${far}px`);
  group.style.setProperty("--middle", `${(box.height + far * 0.7) / 2 - 19 - middle}px`);
  box.element = group;
  return group;
}

function rowsOf(box) {
  const columns = Math.ceil(box.rows.length / ROWS), each = Math.ceil(box.rows.length / columns);
  return box.rows.map((row, number) => {
    const x = PAD + Math.floor(number / each) * COLUMN, y = 34 + (number % each) * ROW;
    const title = row.box.title === row.wire.netdev ? row.box.title : `${row.box.title} · ${row.wire.netdev}`;
    row.text = s("text", { class: "rate", x: x + COLUMN - 2 * PAD, y: y + 10, "text-anchor": "end" });
    row.element = s("g", { class: "row", data: { id: row.box.id } },
      s("rect", { x: x - 6, y: y - 4, width: COLUMN - PAD, height: ROW - 2, rx: 4 }),
      s("text", { class: "line", x, y: y + 10 }, title.length > 24 ? `${title.slice(0, 23)}…` : title), row.text);
    return row.element;
  });
}

function wireOf(wire) {
  const path = s("path", { d: wire.straight ? `M${wire.points.map(({ x, y }) => `${x} ${y}`).join("L")}` : curve(wire.points) });
  const group = s("g", { class: wire.bundle ? "wire bundle" : "wire" }, path);
  const [first, last] = wire.turned ? [wire.points.at(-1), wire.points[0]] : [wire.points[0], wire.points.at(-1)];
  const side = wire.turned || wire.backwards ? -1 : 1; // of the box that it leaves: before it or behind it
  if (wire.tail) group.append(end(wire.tail, first, side));
  if (wire.head) group.append(end(wire.head, last, -side));
  if (wire.labelled) {
    const name = wire.bundle ? `${wire.bundle} ports` : wire.netdev;
    wire.name = s("text", { class: "name", x: wire.label.x, y: wire.label.y - 5, "text-anchor": "middle" }, name);
    wire.text = s("text", { class: "rate", x: wire.label.x, y: wire.label.y + 14, "text-anchor": "middle" });
    group.append(wire.name, wire.text);
  }
  wire.element = group;
  return group;
}

function end(name, { x, y }, side) {
  const text = name.length > 14 ? `${name.slice(0, 13)}…` : name;
  if (upright) return s("text", { class: "port", x: x + 4, y: y + (side > 0 ? 12 : -5) }, text);
  return s("text", { class: "port", x: x + 5 * side, y: y - 4, "text-anchor": side > 0 ? "start" : "end" }, text);
}

// From point to point, leaving and arriving along the layers.
function curve(points) {
  let d = `M${points[0].x} ${points[0].y}`;
  for (let at = 1; at < points.length; at++) {
    const [one, other] = [points[at - 1], points[at]], x = (one.x + other.x) / 2, y = (one.y + other.y) / 2;
    d += upright ? `C${one.x} ${y} ${other.x} ${y} ${other.x} ${other.y}` : `C${x} ${one.y} ${x} ${other.y} ${other.x} ${other.y}`;
  }
  return d;
}

// Drift, what waits and what drops: classes and badges.
export function colour() {
  for (const box of drawn.boxes.values()) {
    const mine = box.cube ? driftOf(`cube/${box.cube.name}`) : (box.netdevs ?? []).flatMap((name) => driftOf(`netdev/${name}`));
    const waits = box.waits || box.cube?.ports.some((port) => port.waits);
    mark(box.element, { drift: mine.length > 0, pending: waits });
    box.drift = mine.length;
    box.pending = waits;
    for (const row of box.rows ?? []) {
      const drift = row.box.netdevs.some((name) => driftOf(`netdev/${name}`).length);
      mark(row.element, { drift, pending: row.box.waits });
    }
  }
  for (const wire of drawn.wires) mark(wire.element, { pending: wire.waits, drift: wire.netdev && driftOf(`netdev/${wire.netdev}`).length > 0 });
  rates();
}

const mark = (element, classes) => { for (const [name, is] of Object.entries(classes)) element.classList.toggle(name, Boolean(is)); };

export function rates() {
  for (const wire of drawn.wires) {
    if (!wire.rated) continue;
    const text = said(portRates(wire.place));
    set(wire.text, text.words);
    wire.element.classList.toggle("busy", text.busy);
  }
  for (const box of drawn.boxes.values()) {
    const dropping = box.cube ? dropRate(box.cube.name) : 0;
    mark(box.element, { drops: dropping > 0 });
    const badge = box.drift ? "drift" : box.pending ? "pending" : dropping > 0 ? `▼ ${short(dropping)}/s` : "";
    set(box.badge, badge);
    box.element.setAttribute("aria-label", [box.title, ...(box.lines ?? []), badge].filter(Boolean).join(", "));
    for (const row of box.rows ?? []) set(row.text, said(portRates(row.wire.place)).words);
  }
}

const set = (element, text) => { if (element.textContent !== text) element.textContent = text; };

// In and out of the port, seen from the cube; packets and the sum of the bits.
function said(rate) {
  if (rate === null) return { words: "", busy: false };
  const busy = rate.inPackets + rate.outPackets > 0;
  if (!busy) return { words: "idle", busy };
  return { words: `${packets(rate.inPackets + rate.outPackets)} · ${bits(rate.inBytes + rate.outBytes)}`, busy };
}
