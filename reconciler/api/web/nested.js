// Where the boxes of a crowd go: around the one in the middle, each with all that hangs off it beside it, like the rooms of a plan.
// Layers put a hundred boxes into one column, of which none can be read; this fills the window. Pure.

const NEAR = 12, FAR = 26; // between blocks; between a box and the blocks at its sides

// A part gets {width, height}, its boxes x, y (their centres), its wires points and label; wires are straight, beneath the boxes.
export function nested({ boxes, wires, near }, aspect) {
  const byId = new Map(boxes.map((box) => [box.id, box]));
  const children = treeFrom(middleOf(boxes[0].id, near), near);
  const blocks = new Map();
  for (const id of [...children.keys()].reverse()) {
    blocks.set(id, around(byId.get(id), children.get(id).map((each) => blocks.get(each)), aspect));
  }
  const whole = blocks.get(children.keys().next().value);
  place(whole, 0, 0);
  const pairs = new Map();
  for (const wire of wires) {
    const pair = [wire.from, wire.to].sort().join(" "), number = pairs.get(pair) ?? 0;
    pairs.set(pair, number + 1);
    straight(wire, byId.get(wire.from), byId.get(wire.to), number);
  }
  return { boxes, wires, width: whole.width, height: whole.height };
}

function walk(start, near) {
  const from = new Map([[start, null]]);
  for (const id of from.keys()) for (const next of near.get(id)) if (!from.has(next)) from.set(next, id);
  return from;
}

// The middle of the longest way.
function middleOf(some, near) {
  const first = [...walk(some, near).keys()].at(-1), from = walk(first, near), way = [];
  for (let id = [...from.keys()].at(-1); id !== null; id = from.get(id)) way.push(id);
  return way[way.length >> 1];
}

// The boxes in the order of their distance, each with those that hang off it.
function treeFrom(root, near) {
  const children = new Map();
  for (const [id, above] of walk(root, near)) {
    children.set(id, []);
    if (above !== null) children.get(above).push(id);
  }
  return children;
}

// A box between two heaps of blocks, beside or above one another, whichever fits the window's shape best.
function around(box, blocks, aspect) {
  const alone = { box, width: box.width, height: box.height, inner: [] };
  if (!blocks.length) return alone;
  const heaps = [[], []], areas = [0, 0];
  for (const block of [...blocks].sort((one, other) => other.width * other.height - one.width * one.height)) {
    const side = areas[0] <= areas[1] ? 0 : 1;
    heaps[side].push(block);
    areas[side] += block.width * block.height;
  }
  const size = ({ width, height }) => Math.max(width / aspect, height);
  let best = null;
  for (const limit of limitsOf(heaps[0], aspect)) {
    const [first, second] = heaps.map((heap) => shelved(heap, limit));
    for (const found of [beside(alone, first, second), above(alone, first, second)]) {
      if (!best || size(found) < size(best)) best = found;
    }
  }
  return best;
}

function limitsOf(heap, aspect) {
  const widest = Math.max(...heap.map((block) => block.width)), all = heap.reduce((sum, block) => sum + block.width + NEAR, 0);
  const area = heap.reduce((sum, block) => sum + (block.width + NEAR) * (block.height + NEAR), 0);
  return [widest, Math.sqrt(area * aspect), Math.sqrt(area * aspect) / 2, all].map((limit) => Math.max(widest, limit));
}

// Rows of blocks, none wider than the limit.
function shelved(heap, limit) {
  let x = 0, y = 0, tall = 0, width = 0;
  const inner = [];
  for (const block of heap) {
    if (x > 0 && x + block.width > limit) { x = 0; y += tall + NEAR; tall = 0; }
    inner.push({ block, x, y });
    x += block.width + NEAR;
    width = Math.max(width, x - NEAR);
    tall = Math.max(tall, block.height);
  }
  return { inner, width, height: y + tall };
}

function beside(middle, first, second) {
  const height = Math.max(middle.height, first.height, second.height), inner = [];
  let x = 0;
  for (const part of [first, middle, second]) {
    if (!part.width) continue;
    inner.push({ block: part, x, y: (height - part.height) / 2 });
    x += part.width + FAR;
  }
  return { inner, width: x - FAR, height };
}

function above(middle, first, second) {
  const width = Math.max(middle.width, first.width, second.width), inner = [];
  let y = 0;
  for (const part of [first, middle, second]) {
    if (!part.height) continue;
    inner.push({ block: part, x: (width - part.width) / 2, y });
    y += part.height + FAR;
  }
  return { inner, width, height: y - FAR };
}

function place({ box, inner, width, height }, x, y) {
  if (box) Object.assign(box, { x: x + width / 2, y: y + height / 2 });
  for (const each of inner) place(each.block, x + each.x, y + each.y);
}

// From edge to edge; several between the same two are beside one another.
function straight(wire, one, other, number) {
  const dx = other.x - one.x, dy = other.y - one.y, long = Math.hypot(dx, dy) || 1;
  const aside = { x: (-dy / long) * 6 * number, y: (dx / long) * 6 * number };
  const edge = (box, sign) => {
    const part = Math.min(dx ? box.width / 2 / Math.abs(dx) : Infinity, dy ? box.height / 2 / Math.abs(dy) : Infinity, 0.5);
    return { x: box.x + sign * dx * part + aside.x, y: box.y + sign * dy * part + aside.y };
  };
  wire.points = [edge(one, 1), edge(other, -1)];
  wire.label = { x: (wire.points[0].x + wire.points[1].x) / 2, y: (wire.points[0].y + wire.points[1].y) / 2 };
  Object.assign(wire, { turned: false, straight: true, backwards: dx < 0 });
}
