// Where boxes go: each connected part in layers (dagre) along its longest way, so that a packet's path reads from left to right, or
// from top to bottom; a crowd for which layers are no shape around its middle (nested); then the parts beside one another, in the
// shape of the window. Pure.

import { nested } from "./nested.js";
import { Graph, layout } from "./vendor/dagre.js";

const GAP = 48, PORT = 17;
const LABEL = { width: 156, height: 32 };

const CROWD = 60; // boxes; with more, each is its name alone
export const isCrowded = (boxes) => boxes.length > CROWD;
const BETTER = 1.3; // times as large as all is drawn: then the other way is taken

// The way a path reads best in a window of this shape, upright or not; and the other one.
export function waysOf(aspect) {
  const upright = aspect < 0.85;
  return [upright, !upright];
}

export const isBetter = (found, before, aspect) => sizeOf(before, aspect) > BETTER * sizeOf(found, aspect);
const sizeOf = ({ width, height }, aspect) => Math.max(width / aspect, height);

// -> {width, height}; boxes get x, y (their centres), wires get points and label {x, y}.
export function arrange({ boxes, wires }, aspect, upright) {
  const crowded = isCrowded(boxes);
  const parts = partsOf(boxes, wires).map((part) => {
    if (!isCrowded(part.boxes)) return layered(part, upright, crowded);
    const around = nested(part, aspect), found = layered(part, upright, true);
    return isBetter(around, found, aspect) ? nested(part, aspect) : found;
  });
  return packed(parts, aspect);
}

function partsOf(boxes, wires) {
  const near = neighbours(boxes, wires), seen = new Set(), parts = [];
  const byId = new Map(boxes.map((box) => [box.id, box]));
  for (const { id } of boxes) {
    if (seen.has(id)) continue;
    const ids = [...distances(id, near).keys()];
    for (const each of ids) seen.add(each);
    const inside = new Set(ids);
    parts.push({ boxes: ids.map((each) => byId.get(each)), wires: wires.filter((wire) => inside.has(wire.from)), near });
  }
  return parts;
}

function neighbours(boxes, wires) {
  const near = new Map(boxes.map((box) => [box.id, []]));
  for (const { from, to } of wires) { near.get(from).push(to); near.get(to).push(from); }
  return near;
}

function distances(start, near) {
  const far = new Map([[start, 0]]);
  for (const id of far.keys()) for (const next of near.get(id)) if (!far.has(next)) far.set(next, far.get(id) + 1);
  return far;
}

function layered({ boxes, wires, near }, upright, crowded) {
  const graph = new Graph({ multigraph: true });
  graph.setGraph({ rankdir: upright ? "TB" : "LR", nodesep: crowded ? 8 : upright ? 26 : 20, ranksep: crowded ? 30 : upright ? 26 : 44, edgesep: crowded ? 4 : 14 });
  graph.setDefaultEdgeLabel(() => ({}));
  const column = columns(boxes, near);
  if (!crowded) makeRoom(boxes, wires, column, upright);
  for (const box of boxes) graph.setNode(box.id, { width: box.width, height: box.height });
  for (const wire of wires) {
    const turned = column.get(wire.from) > column.get(wire.to);
    const label = wire.labelled ? { ...LABEL, labelpos: "c" } : { width: 0, height: 0 };
    graph.setEdge(turned ? wire.to : wire.from, turned ? wire.from : wire.to, label, wire.id);
    Object.assign(wire, { turned, straight: false, backwards: false });
  }
  layout(graph);
  for (const box of boxes) Object.assign(box, { x: graph.node(box.id).x, y: graph.node(box.id).y });
  for (const wire of wires) {
    const edge = graph.edge(wire.turned ? wire.to : wire.from, wire.turned ? wire.from : wire.to, wire.id);
    wire.points = edge.points.map(({ x, y }) => ({ x, y }));
    const middle = wire.points[wire.points.length >> 1];
    wire.label = wire.labelled && "x" in edge ? { x: edge.x, y: edge.y } : middle;
  }
  spread(boxes, wires, upright);
  const { width = 0, height = 0 } = graph.graph();
  return { boxes, wires, width, height };
}

// A box is as long as the wires on one side of it need.
function makeRoom(boxes, wires, column, upright) {
  const counts = new Map();
  for (const { from, to } of wires) {
    for (const [here, there] of [[from, to], [to, from]]) {
      const side = `${here} ${column.get(there) > column.get(here)}`;
      counts.set(side, (counts.get(side) ?? 0) + 1);
    }
  }
  for (const box of boxes) {
    const most = Math.max(counts.get(`${box.id} true`) ?? 0, counts.get(`${box.id} false`) ?? 0);
    if (upright) box.width = Math.max(box.width, most * 44);
    else box.height = Math.max(box.height, most * PORT + 8);
  }
}

// Wires leave a box's side evenly spread, in the order in which they go on.
function spread(boxes, wires, upright) {
  const [along, across, size, depth] = upright ? ["x", "y", "width", "height"] : ["y", "x", "height", "width"];
  const ends = new Map(boxes.map((box) => [box.id, { box, low: [], high: [] }]));
  for (const wire of wires) {
    const { points } = wire, [first, last] = wire.turned ? [wire.to, wire.from] : [wire.from, wire.to];
    ends.get(first).high.push([points[0], points[1]]);
    ends.get(last).low.push([points.at(-1), points.at(-2)]);
  }
  for (const { box, low, high } of ends.values()) {
    for (const [side, sign] of [[low, -1], [high, 1]]) {
      side.sort(([, one], [, other]) => one[along] - other[along]);
      for (const [number, [point]] of side.entries()) {
        point[along] = box[along] - box[size] / 2 + (box[size] * (number + 0.5)) / side.length;
        point[across] = box[across] + (sign * box[depth]) / 2;
      }
    }
  }
}

// The column of each box: its distance from one end of the longest way. What hangs off a box alone goes to its emptier side.
function columns(boxes, near) {
  const last = (from) => { const far = distances(from, near); return [...far.keys()].at(-1); };
  const start = last(boxes[0].id), column = distances(start, near), finish = [...column.keys()].at(-1);
  for (const { id } of boxes) {
    let left = 0, right = 0;
    const leaves = [];
    for (const next of near.get(id)) {
      if (near.get(next).length === 1 && next !== start && next !== finish) leaves.push(next);
      else if (column.get(next) < column.get(id)) left++;
      else right++;
    }
    for (const leaf of leaves) {
      const goesLeft = left < right;
      column.set(leaf, column.get(id) + (goesLeft ? -1 : 1));
      if (goesLeft) left++; else right++;
    }
  }
  return column;
}

// Rows of parts, the tallest first, as wide as the window's shape asks for.
function packed(parts, aspect) {
  parts.sort((one, other) => other.height - one.height || other.width - one.width);
  const area = parts.reduce((sum, part) => sum + (part.width + GAP) * (part.height + GAP), 0);
  const widest = Math.max(0, ...parts.map((part) => part.width)), limit = Math.max(widest, Math.sqrt(area * aspect));
  let x = 0, y = 0, tall = 0, width = 0;
  for (const part of parts) {
    if (x > 0 && x + part.width > limit) { x = 0; y += tall + GAP; tall = 0; }
    move(part, x, y);
    x += part.width + GAP;
    width = Math.max(width, x - GAP);
    tall = Math.max(tall, part.height);
  }
  return { width, height: y + tall };
}

function move({ boxes, wires }, dx, dy) {
  for (const box of boxes) { box.x += dx; box.y += dy; }
  for (const wire of wires) {
    for (const point of wire.points) { point.x += dx; point.y += dy; }
    if (!wire.points.includes(wire.label)) { wire.label.x += dx; wire.label.y += dy; }
  }
}
