// The picture as boxes and wires. Pure. A wire runs from a port to what it is joined to, through the transparent cubes between.

const MANY = 8; // hosts and netdevs at one cube; more are drawn as one box with a row for each

export function shapeOf(picture) {
  const boxes = new Map(), wires = [];
  const cubes = new Map(picture.cubes.map((cube) => [cube.name, cube]));
  const box = (id, kind, title, more = {}) => {
    if (!boxes.has(id)) boxes.set(id, { id, kind, title, ...more });
    return id;
  };
  for (const cube of picture.cubes) {
    const kind = cube.kind === "transparent" ? "transparent" : "cube";
    box(`cube/${cube.name}`, kind, cube.name, { lines: [cube.type === "TC" ? cube.service : `${cube.service} · ${cube.type}`], cube });
  }
  const end = (netdev) => {
    const known = picture.netdevs[netdev] ?? { there: false };
    if (!known.host) {
      const lines = [known.there ? known.kind || "netdev" : "not there yet"];
      return box(`netdev/${netdev}`, "netdev", netdev, { lines, netdevs: [netdev], waits: !known.there });
    }
    const id = box(`host/${known.host.netns}`, "host", known.host.netns, { lines: [], netdevs: [] });
    const host = boxes.get(id);
    if (!host.netdevs.includes(netdev)) {
      host.netdevs.push(netdev);
      host.lines.push([known.host.name, ...known.host.addresses].join(" "));
      host.waits ||= !known.there;
    }
    return id;
  };
  const chain = (ids, place, tail, head, netdev) => {
    for (let at = 0; at < ids.length - 1; at++) {
      const last = at === ids.length - 2;
      wires.push({
        id: `${place} ${at}`, from: ids[at], to: ids[at + 1], place, tail: at === 0 ? tail : "", head: last ? head : "", netdev,
        rated: last && Boolean(netdev), waits: Boolean(netdev) && !(picture.netdevs[netdev]?.there),
      });
    }
  };
  const known = (names) => names.filter((name) => cubes.has(name)).map((name) => `cube/${name}`);
  const joined = new Set(), used = new Set();
  for (const cube of picture.cubes) {
    for (const port of cube.ports) {
      const place = `${cube.name}:${port.name}`, at = port.peer.indexOf(":");
      if (!port.peer || joined.has(place)) continue;
      const inner = known([...port.tcubes].reverse());
      if (at < 0) {
        used.add(port.peer);
        const outer = known([...(picture.attachments[port.peer] ?? [])].reverse());
        chain([`cube/${cube.name}`, ...inner, ...outer, end(port.peer)], place, port.name, "", port.peer);
      } else {
        const other = cubes.get(port.peer.slice(0, at));
        const far = other?.ports.find((each) => each.name === port.peer.slice(at + 1));
        if (!far) continue;
        joined.add(port.peer);
        chain([`cube/${cube.name}`, ...inner, ...known(far.tcubes), `cube/${other.name}`], place, port.name, far.name, "");
      }
    }
  }
  for (const [netdev, names] of Object.entries(picture.attachments)) {
    if (used.has(netdev)) continue;
    const stack = box(`stack/${netdev}`, "netdev", "this host", { lines: ["network stack"], netdevs: [] });
    chain([stack, ...known([...names].reverse()), end(netdev)], `netdev ${netdev}`, "", "", netdev);
  }
  return gathered(boxes, wires);
}

// Many hosts that hang off the same cube become one box of rows.
function gathered(boxes, wires) {
  const at = new Map();
  for (const wire of wires) for (const id of [wire.from, wire.to]) at.set(id, [...(at.get(id) ?? []), wire]);
  for (const [id, near] of at) {
    const leaves = near.filter((wire) => wire.from === id && at.get(wire.to).length === 1 && "netdevs" in boxes.get(wire.to));
    if (leaves.length <= MANY) continue;
    const rows = leaves.map((wire) => ({ box: boxes.get(wire.to), wire }));
    const gone = new Set(leaves);
    for (const row of rows) boxes.delete(row.box.id);
    wires = wires.filter((wire) => !gone.has(wire));
    boxes.set(`group/${id}`, { id: `group/${id}`, kind: "group", title: `${rows.length} hosts and netdevs`, lines: [], rows });
    wires.push({ id: `group ${id}`, from: id, to: `group/${id}`, place: "", tail: "", head: "", netdev: "", rated: false, bundle: rows.length });
  }
  return { boxes: [...boxes.values()], wires };
}
