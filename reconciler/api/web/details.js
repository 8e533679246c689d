// What is beside the graph: a cube or netdev that was chosen, or all in short: drift, what waits, drops, topologies.

import { modelOf, pathOf, read } from "./api.js";
import { $, bits, grouped, h, packets, several } from "./dom.js";
import { propose, remove } from "./edit.js";
import { cubeNamed, driftOf, isWritable, live, portRates } from "./live.js";
import { nodeOf } from "./tree.js";

const place = $("details");
let shown = "", data = null, model = null, drawnOf = "", go = () => {};
export const whenFollowed = (action) => { go = action; };

// Show something else: "cube/<name>", "netdev/<name>", "host/<name>", or "" for all in short.
export async function details(id) {
  [shown, data, model, drawnOf] = [id, null, null, ""];
  await refresh();
  place.scrollTop = 0;
}

export const focusDetails = () => place.focus();

// Read again what is shown, and draw it if it is another than before. Focus, scrolling and what is open stay.
export async function refresh() {
  const id = shown, name = id.slice(5);
  if (id.startsWith("cube/") && live.picture) {
    const cube = cubeNamed(name);
    if (!cube) { data = null; return redraw(); }
    try {
      const [found, its] = await Promise.all([read(pathOf(name)), modelOf(cube.service)]);
      if (shown !== id) return undefined;
      [data, model] = [found, its];
    } catch (error) {
      if (shown === id) { data = null; place.replaceChildren(h("p", { class: "refused" }, error.message)); }
      return undefined;
    }
  }
  return redraw();
}

export function redraw() {
  if (!live.picture) return;
  const now = JSON.stringify([shown, data, live.drift, live.picture, live.counters.get(shown.slice(5)), [...live.rates].filter(([key]) => key.includes(shown.slice(5)))]);
  if (now === drawnOf) return;
  drawnOf = now;
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  const label = focused?.getAttribute("aria-label"), summary = focused?.closest("summary")?.parentElement.dataset.key, { scrollTop } = place;
  place.replaceChildren(...view().flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  place.scrollTop = scrollTop;
  const again = summary ? place.querySelector(`[data-key="${CSS.escape(summary)}"] > summary`) : label ? place.querySelector(`[aria-label="${CSS.escape(label)}"]`) : null;
  again?.focus({ preventScroll: true });
}

function view() {
  const [kind, name] = [shown.slice(0, shown.indexOf("/")), shown.slice(shown.indexOf("/") + 1)];
  if (kind === "cube") return data && cubeNamed(name) ? cubeView(cubeNamed(name)) : [h("h2", {}, name), h("p", {}, "There is no such cube any more."), back()];
  if (kind === "netdev" || kind === "host" || kind === "stack") return netdevView(kind, name);
  return overview();
}

const back = () => h("button", { type: "button", class: "quiet", "aria-label": "Back to all", onclick: () => go("") }, "← All");
const link = (id, text) => h("button", { type: "button", class: "link", onclick: () => go(id, true) }, text);

function overview() {
  const { picture } = live, waiting = picture.cubes.flatMap((cube) => cube.ports.filter((port) => port.waits).map((port) => [cube, port]));
  const dropping = [...live.counters.values()].filter((cube) => Object.keys(cube.drops).length);
  return [
    h("h2", {}, "All"),
    driftView(live.drift, true),
    live.resets.length ? h("p", { class: "note pending" }, `Pending: newer code has another layout for ${live.resets.join(", ")}.`) : null,
    waiting.length ? [h("h3", { class: "pending" }, "Pending"), h("ul", { class: "plain" }, waiting.map(([cube, port]) =>
      h("li", {}, link(`cube/${cube.name}`, `${cube.name}:${port.name}`), ` waits for netdev ${port.peer}`)))] : null,
    live.agent.problems?.length ? [h("h3", {}, "The agent says"), h("ul", { class: "plain" }, live.agent.problems.map((problem) => h("li", {}, String(problem.message ?? problem))))] : null,
    h("h3", {}, "Drops by reason"),
    dropping.length ? dropping.map((cube) => [h("h4", {}, link(`cube/${cube.name}`, cube.name)), drops(cube.drops)]) : h("p", { class: "none" }, "none"),
    h("h3", {}, "Topologies"),
    h("div", { class: "table" }, h("table", {}, h("thead", {}, h("tr", {}, ["name", "cubes", "revision", ""].map((word) => h("th", { scope: "col" }, word)))),
      h("tbody", {}, Object.entries(picture.topologies).map(([name, revision]) => h("tr", {}, h("th", { scope: "row" }, name),
        h("td", { class: "number" }, String(picture.cubes.filter((cube) => cube.topology === name).length)), h("td", {}, h("code", {}, revision.slice(0, 12))),
        h("td", {}, name === picture.writable ? "edited here" : "")))))),
    h("h3", {}, "Cubes"),
    h("ul", { class: "cubes" }, picture.cubes.map((cube) => h("li", {}, link(`cube/${cube.name}`, cube.name), h("small", {}, ` ${cube.service}`)))),
  ];
}

// The applied and the live value of each object that differs, and the button that mends all of it.
function driftView(entries, all = false) {
  if (!entries.length) return all ? h("p", { class: "note calm" }, "The kernel holds what was applied.") : null;
  return h("div", { class: "note drift" }, h("h3", {}, `Drift: ${several(entries.length, "object")} not as applied`),
    h("ul", { class: "plain" }, entries.slice(0, 50).map((entry) => h("li", {}, h("code", {}, entry.address), ` ${entry.state}`))),
    h("button", { type: "button", id: "heal", onclick: () => propose("Mend drift", { method: "POST", heal: true, path: "" }) }, "Mend"));
}

function drops(counts) {
  const most = Math.max(...Object.values(counts));
  return h("ul", { class: "bars" }, Object.entries(counts).sort(([, one], [, other]) => other - one).map(([reason, count]) =>
    h("li", {}, h("span", {}, reason.replaceAll("_", " ")), h("meter", { min: 0, max: most, value: count, "aria-hidden": "true" }), h("b", {}, grouped(count)))));
}

function cubeView(cube) {
  const writable = isWritable(cube), at = { cube, path: [], writable, redraw: () => { drawnOf = ""; redraw(); } };
  const counted = live.counters.get(cube.name);
  return [
    back(),
    h("h2", {}, cube.name, h("small", {}, ` ${cube.service} · ${cube.type}`)),
    h("p", { class: "where" }, `Topology ${cube.topology}. `, writable ? null : "Another writer's: edit its file.",
      cube.parent ? [" Attached to ", cube.parent.includes(":") ? link(`cube/${cube.parent.split(":")[0]}`, cube.parent) : cube.parent, "."] : null),
    driftView(driftOf(`cube/${cube.name}`)),
    cube.ports.length ? [h("h3", {}, "Traffic"), portsTable(cube)] : null,
    counted && Object.keys(counted.drops).length ? [h("h3", {}, "Drops by reason"), drops(counted.drops)] : null,
    h("h3", {}, "Configuration and state"),
    nodeOf(model, data, at),
    writable ? h("p", { class: "buttons danger" }, h("button", { type: "button", class: "small", onclick: () => remove(at) }, `Delete ${cube.name}`)) : null,
  ];
}

function portsTable(cube) {
  return h("div", { class: "table", tabindex: 0, role: "region", "aria-label": "Ports" }, h("table", {},
    h("thead", {}, h("tr", {}, ["port", "joined to", "in", "out"].map((word) => h("th", { scope: "col" }, word)))),
    h("tbody", {}, cube.ports.map((port) => {
      const rate = portRates(`${cube.name}:${port.name}`), far = port.peer.split(":")[0];
      const cell = (count, bytes) => h("td", { class: "number" }, rate ? [packets(count), h("small", {}, ` ${bits(bytes)}`)] : "");
      return h("tr", {}, h("th", { scope: "row" }, port.name),
        h("td", { class: port.waits ? "pending" : "" }, port.peer.includes(":") ? link(`cube/${far}`, port.peer) : port.peer || "nothing", port.waits ? " (pending)" : "",
          port.tcubes.length ? [h("br"), h("small", {}, "through "), port.tcubes.map((name) => [link(`cube/${name}`, name), " "])] : null),
        cell(rate?.inPackets, rate?.inBytes), cell(rate?.outPackets, rate?.outBytes));
    }))));
}

function netdevView(kind, name) {
  const { picture } = live;
  const mine = Object.entries(picture.netdevs).filter(([netdev, each]) => (kind === "host" ? each.host?.netns === name : netdev === name));
  return [
    back(), h("h2", {}, name, h("small", {}, kind === "host" ? " network namespace" : kind === "stack" ? " to this host" : " netdev")),
    mine.map(([netdev, each]) => {
      const port = picture.cubes.flatMap((cube) => cube.ports.filter((its) => its.peer === netdev).map((its) => `${cube.name}:${its.name}`))[0];
      const rate = port && portRates(port), chain = picture.attachments[netdev] ?? [];
      const terms = [["state", each.there ? (each.up ? "up" : "down") : "not there yet"], ["kind", each.kind], ["MAC", each.mac], ["MTU", each.mtu],
        ["in the namespace", each.host && [each.host.name, ...each.host.addresses].join(" ")],
        ["to the cube", rate && `${packets(rate.inPackets)}, ${bits(rate.inBytes)}`], ["from the cube", rate && `${packets(rate.outPackets)}, ${bits(rate.outBytes)}`]];
      return [h("h3", {}, netdev), driftView(driftOf(`netdev/${netdev}`)),
        h("dl", {}, terms.filter(([, value]) => value).map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, String(value)))),
          port ? h("div", {}, h("dt", {}, "joined to"), h("dd", {}, link(`cube/${port.split(":")[0]}`, port))) : null,
          chain.length ? h("div", {}, h("dt", {}, "chain, from the wire"), h("dd", {}, chain.map((cube) => [link(`cube/${cube}`, cube), " "]))) : null)];
    }),
  ];
}
