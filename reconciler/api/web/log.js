// The log: what was written, applied, refused; what drifted and was mended; what the agent and the cubes say.

import { $, h, several } from "./dom.js";
import { listen, on } from "./live.js";

const MOST = 400;
const list = $("log").querySelector("ol");

export function log(kind, text, now = new Date()) {
  const item = h("li", { class: kind }, h("time", { datetime: now.toISOString() }, now.toTimeString().slice(0, 8)), h("span", { class: "kind" }, kind.split(" ")[0]), h("span", {}, text));
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 30;
  list.append(item);
  while (list.children.length > MOST) list.firstChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

export function startLog() {
  $("clear").addEventListener("click", () => list.replaceChildren());
  let first = true, revisions = null;
  on("connection", (is) => {
    log(is ? "page" : "failed", is ? (first ? "connected" : "connected again") : "the connection is lost; trying again");
    if (is) first = false;
  });
  on("write", ({ who, method, path, status }) => log(status < 300 ? "write" : "failed", `${who}: ${method} ${path}: ${status}`));
  on("apply", (done) => log("apply", `${done.topology} at ${done.revision.slice(0, 12)}: ${several(done.program_loads, "program load")}, ${several(done.map_writes, "map write")}, `
    + `${several(done.link_changes, "link change")}; disruption: ${done.disruption}`));
  on("failed", ({ topology, error }) => log("failed", `${topology}: ${error}`));
  on("topology", ({ at }) => {
    for (const name of Object.keys(revisions ?? {})) if (!(name in at)) log("topology", `${name} was removed`);
    for (const [name, revision] of Object.entries(at)) if (revisions && revisions[name] !== revision) log("topology", `${name} is at revision ${String(revision).slice(0, 12)}`);
    revisions = at;
  });
  on("drift", ({ before, now }) => {
    const [was, is] = [new Set(before.map((each) => each.address)), new Set(now.map((each) => each.address))];
    for (const { address, state } of now) if (!was.has(address)) log("drift", `${address} is ${state}`);
    for (const { address } of before) if (!is.has(address)) log("healed", address);
  });
  on("problem", (error) => log("failed", error));
  on("plan", ({ who, method, path, status }) => log("plan", `${who}: ${method} ${path}: ${status < 300 ? "only planned" : status}`));
  startCubeLog();
  let agent = null;
  on("agent", ({ running, healthy }) => {
    const said = !running ? null : healthy === false ? "the agent is in trouble" : "the agent is well";
    if (said !== agent && (said || agent)) log("agent", said ?? "the agent is not running");
    agent = said;
  });
}

// Lines of the cubes themselves, while they are followed. That is remembered for as long as the tab is open.
function startCubeLog() {
  const button = $("follow");
  let last = "";
  const follow = (is) => {
    button.setAttribute("aria-pressed", String(is));
    sessionStorage.setItem("follow", is ? "1" : "");
    last = "";
    listen(is);
  };
  button.addEventListener("click", () => follow(button.getAttribute("aria-pressed") !== "true"));
  on("log", ({ lines = [], left_out: left, error, refused }) => {
    if (refused) { log("failed", "only who may write may follow the cubes' log"); return follow(false); }
    if (error && error !== last) log("failed", `the cubes' log: ${error}`);
    last = error ?? "";
    if (left) log("cube", `(${several(left, "line")} more)`);
    for (const { time, cube, level, text } of lines) log(`cube ${level.toLowerCase()}`, `${cube} ${level}: ${text}`, new Date(time));
    return undefined;
  });
  follow(sessionStorage.getItem("follow") === "1");
}
