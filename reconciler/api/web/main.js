// The page: puts graph, details and log together, and says in the header how things are.

import { details, focusDetails, redraw, refresh, whenFollowed } from "./details.js";
import { $, h, several } from "./dom.js";
import { colour, draw, drawn, rates } from "./draw.js";
import { addCube, open, whenWritten } from "./edit.js";
import { live, on } from "./live.js";
import { log, startLog } from "./log.js";
import { aspect, fit, refit, show, whenChosen, world, zoom } from "./view.js";

let chosen = "";

function choose(id, focus = false, bring = true) {
  chosen = id;
  history.replaceState(null, "", id ? `#${encodeURI(id)}` : location.pathname);
  show(id, bring);
  details(id);
  if (focus) focusDetails();
  if (id && matchMedia("(max-width: 760px)").matches) $("details").scrollIntoView({ behavior: "smooth", block: "start" });
}

function status() {
  const parts = [];
  if (!live.connected) parts.push(["failed", "disconnected"]);
  else if (live.picture) {
    const waiting = live.picture.cubes.reduce((sum, cube) => sum + cube.ports.filter((port) => port.waits).length, 0);
    if (live.drift.length) parts.push(["drift", `drift: ${several(live.drift.length, "object")}`]);
    if (waiting || live.resets.length) parts.push(["pending", `${waiting + live.resets.length} pending`]);
    if (!live.drift.length) parts.push(["calm", "in sync"]);
    if (live.agent.running) parts.push([live.agent.healthy === false ? "failed" : "calm", live.agent.healthy === false ? "agent: trouble" : "agent"]);
    parts.push(["count", several(live.picture.cubes.length, "cube")]);
  }
  const place = $("status"), now = JSON.stringify(parts);
  if (place.dataset.now === now) return;
  place.dataset.now = now;
  place.replaceChildren(...parts.map(([kind, words]) => h("span", { class: `chip ${kind}` }, words)));
}

function names() {
  const all = [...drawn.boxes.values()].flatMap((box) => (box.rows ? box.rows.map((row) => row.box) : [box]));
  $("names").replaceChildren(...all.map((box) => h("option", { value: box.title }, box.lines?.[0] ?? "")));
  return all;
}

on("connection", status);
on("graph", () => {
  $("host").textContent = live.picture.host;
  document.title = `pcn: ${live.picture.host}`;
  if (draw(world, aspect())) refit();
  else colour();
  names();
  show(chosen, false);
  status();
  refresh();
});
on("drift", () => { colour(); status(); redraw(); });
on("agent", status);
on("rates", () => { rates(); if (!chosen.startsWith("cube/")) redraw(); });
whenChosen((id, focus) => choose(id, focus, false));
whenFollowed((id) => choose(id));
whenWritten(() => refresh());
setInterval(() => { if (!document.hidden && chosen.startsWith("cube/")) refresh(); }, 1000);

$("add").addEventListener("click", () => addCube().catch((error) => log("failed", error.message)));
$("zoom").addEventListener("click", ({ target }) => ({ in: () => zoom(1.25), out: () => zoom(0.8), fit })[target.dataset.zoom]?.());
$("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const word = $("search").value.trim().toLowerCase(), all = names();
  const found = all.find((box) => box.title.toLowerCase() === word) ?? all.find((box) => box.title.toLowerCase().includes(word));
  if (word && found) choose(found.id, true);
});
$("search").addEventListener("input", () => {
  const word = $("search").value.trim().toLowerCase();
  for (const element of world.querySelectorAll("[data-id]")) element.classList.toggle("aside", Boolean(word) && !element.textContent.toLowerCase().includes(word));
});

const KEYS = [["/", "find a cube or netdev"], ["arrows", "go to the next box (in the graph)"], ["Enter", "to the details of the chosen box"], ["+  -  0", "zoom in, zoom out, show all"],
  ["g", "to the graph"], ["d", "to the details"], ["a", "add a cube"], ["Esc", "close, or back to all"], ["?", "this list"]];
const help = () => open("Keyboard shortcuts", h("dl", {}, KEYS.map(([key, what]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)))),
  h("p", { class: "buttons" }, h("button", { type: "button", class: "main", autofocus: true, onclick: () => $("dialog").close() }, "Close")));
$("help").addEventListener("click", help);
document.addEventListener("keydown", (event) => {
  if ($("dialog").open || event.ctrlKey || event.altKey || event.metaKey) return;
  const typing = event.target.matches("input, select, textarea");
  if (event.key === "Escape") {
    if (typing) { $("search").value = ""; $("search").dispatchEvent(new Event("input")); $("canvas").focus(); } else choose("");
    return;
  }
  if (typing) return;
  const action = { "/": () => $("search").focus(), "?": help, g: () => $("canvas").focus(), d: focusDetails, a: () => $("add").click() }[event.key];
  if (action) { action(); event.preventDefault(); }
});

chosen = decodeURI(location.hash.slice(1));
details(chosen);
startLog(); // and begin to listen
