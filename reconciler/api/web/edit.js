// Edits: a form from the model, the plan of what it would do, and then it is done, or not. Nothing is written without its plan.

import { modelOf, pathOf, perform, planOf, read } from "./api.js";
import { $, h } from "./dom.js";
import { choicesOf, configOf, entrySchema, isNumber, keysOf, membersOf, typed } from "./model.js";

const dialog = $("dialog");
let told = () => {}, opener = null;
export const whenWritten = (action) => { told = action; };

export function open(title, ...content) {
  if (!dialog.open) opener = document.activeElement;
  dialog.replaceChildren(h("h2", { id: "dialog-title" }, title), ...content.flat().filter(Boolean));
  if (!dialog.open) dialog.showModal();
  dialog.querySelector("[autofocus]")?.focus();
}

const cancel = (text = "Cancel") => h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, text);
dialog.addEventListener("close", () => { if (opener?.isConnected) opener.focus(); });

// The plan of a write, and the button that does it.
export async function propose(title, write, back) {
  open(title, h("p", { role: "status" }, "Planning …"), h("p", { class: "buttons" }, cancel()));
  let plan;
  try {
    plan = await planOf(write);
  } catch (error) {
    return refused(title, error, back);
  }
  const { data, etag } = plan, { summary, text } = data;
  const apply = h("button", { type: "button", class: "main", autofocus: true, id: "apply" }, "Apply");
  apply.addEventListener("click", async () => {
    apply.disabled = true;
    apply.textContent = "Applying …";
    try {
      await perform(write, etag);
      dialog.close();
      told(write);
    } catch (error) {
      if (error.status === 412) propose(title, write, back);
      else refused(title, error, back);
    }
  });
  open(title,
    h("p", { class: "request" }, h("code", {}, `${write.method} ${write.heal ? "/web/heal" : `/polycube/v1/${write.path}`}`)),
    planText(text),
    h("ul", { class: "totals" }, total(summary.program_loads, "programs loaded"), total(summary.map_writes, "rows written"), total(summary.link_changes, "links changed"),
      h("li", { class: summary.disruption === "none" ? "calm" : "felt" }, h("b", {}, summary.disruption), " disruption")),
    data.warnings.map((warning) => h("p", { class: "warning" }, warning.message)),
    h("p", { class: "buttons" }, apply, back ? h("button", { type: "button", onclick: back }, "Back") : null, cancel()));
}

const total = (count, what) => h("li", {}, h("b", {}, String(count)), ` ${what}`);
const MARKS = { "+": "plus", "-": "minus", "~": "tilde", "!": "felt" };

export function planText(text) {
  return h("pre", { class: "plan", tabindex: 0, "aria-label": "Plan" }, text.split("\n").map((line) =>
    h("span", { class: MARKS[line.trimStart()[0]] ?? "" }, `${line}\n`)));
}

function refused(title, error, back) {
  open(title, h("p", { class: "refused", role: "alert" }, error.message), error.path ? h("p", {}, h("code", {}, error.path)) : null,
    h("p", { class: "buttons" }, back ? h("button", { type: "button", class: "main", autofocus: true, onclick: back }, "Back") : null, cancel("Close")));
}

// A form of leaves; `done` gets what was changed and what was emptied. Going back to it keeps what was typed.
function form(title, members, value, done, verb = "Plan") {
  const fields = members.map((member, number) => field(member, value[member.name], number === 0));
  const element = h("form", { class: "fields", method: "dialog" }, fields.map(({ row }) => row),
    h("p", { class: "buttons" }, h("button", { type: "submit", class: "main" }, verb), cancel()));
  const again = () => open(title, element);
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    const changed = {}, emptied = [];
    for (const { member, now, was } of fields) {
      const said = now();
      if (said === was) continue;
      if (said === "") emptied.push(member.name);
      else changed[member.name] = member.kind === "leaves" ? said.split(/[\s,]+/).filter(Boolean).map((word) => typed(member.schema.items ?? {}, word)) : typed(member.schema, said);
    }
    done(changed, emptied, again);
  });
  again();
}

function field(member, value, first) {
  const { schema, name } = member, choices = choicesOf(schema), id = `field-${name}`;
  const was = value === undefined ? "" : Array.isArray(value) ? value.join(", ") : String(value);
  const props = { id, name, autofocus: first, "aria-describedby": schema.description ? `${id}-help` : null };
  const input = choices
    ? h("select", props, [...(member.required ? [] : [""]), ...choices].map((each) => h("option", { value: each, selected: each === was }, each || (schema.default === undefined ? "—" : `default (${schema.default})`))))
    : h("input", { ...props, value: was, required: member.required, inputmode: isNumber(schema) ? "numeric" : null, autocomplete: "off", spellcheck: "false",
      placeholder: schema.default !== undefined ? `default ${schema.default}` : schema.examples?.[0] ?? "", list: name === "peer" ? "peers" : null });
  const units = schema["x-units"] ? ` (${schema["x-units"]})` : "";
  const row = h("div", { class: "field" }, h("label", { for: id }, name + units), input,
    schema.description ? h("small", { id: `${id}-help` }, schema.description) : null);
  return { member, row, was, now: () => input.value.trim() };
}

const isLeaf = (member) => member.kind === "leaf" || member.kind === "leaves";

export function editNode(schema, value, at, keys) {
  const isCube = at.path.length === 0, fixed = isCube ? ["name", "service-name"] : keys;
  const members = membersOf(schema).filter((member) => isLeaf(member) && !member.state && !member.initOnly && !fixed.includes(member.name));
  const title = `Edit ${[at.cube.name, ...at.path].join(" ")}`;
  offerPeers();
  form(title, members, value, (changed, emptied, again) => {
    const path = pathOf(at.cube.name, ...at.path);
    if (!emptied.length && !Object.keys(changed).length) return dialog.close();
    if (!emptied.length) return propose(title, { method: "PATCH", path, body: changed }, again);
    const body = { ...configOf(schema, value), ...changed };
    for (const name of [...emptied, ...fixed]) delete body[name];
    return propose(title, { method: "PUT", path, body }, again);
  });
}

export function addEntry(member, at, append) {
  const keys = keysOf(member), schema = entrySchema(member);
  const members = membersOf(schema).filter((each) => isLeaf(each) && !(append && keys.includes(each.name)));
  for (const each of members) each.required = (schema.required ?? []).includes(each.name);
  const title = `Add to ${[at.cube.name, ...at.path].join(" ")}`;
  offerPeers();
  form(title, members, {}, (changed, _, again) => {
    if (append) return propose(title, { method: "POST", path: pathOf(append.cube.name, ...append.path), body: changed }, again);
    const words = keys.map((key) => String(changed[key]));
    for (const key of keys) delete changed[key];
    return propose(title, { method: "POST", path: pathOf(at.cube.name, ...at.path, ...words), body: changed }, again);
  });
}

export function remove(at) {
  propose(`Delete ${[at.cube.name, ...at.path].join(" ")}`, { method: "DELETE", path: pathOf(at.cube.name, ...at.path) });
}

// An action on what the datapath learned edits no document, and has no plan: it asks.
export function act(action, at) {
  const write = { method: "POST", path: pathOf(at.cube.name, ...at.path, action.name), body: {} }, title = `${action.name} ${[at.cube.name, ...at.path].join(" ")}`;
  const go = h("button", { type: "button", class: "main", autofocus: true, onclick: async () => {
    try { await perform(write); dialog.close(); told(write); } catch (error) { refused(title, error); }
  } }, "Do it");
  open(title, h("p", {}, action.description), h("p", { class: "buttons" }, go, cancel()));
}

export async function addCube() {
  const services = await read("services");
  const kind = { name: "service", kind: "leaf", required: true, schema: { enum: services.map((each) => each.name), description: "What kind of cube it is." } };
  form("Add a cube", [kind, { name: "name", kind: "leaf", required: true, schema: { type: "string", description: "Its name, unlike that of any other cube." } }], {}, async (said, _, again) => {
    const service = said.service ?? services[0].name, model = await modelOf(service), title = `Add ${service} ${said.name}`;
    const members = membersOf(model).filter((member) => isLeaf(member) && !member.state && !["name", "service-name"].includes(member.name));
    for (const each of members) each.required = (model.required ?? []).includes(each.name);
    form(title, members, {}, (changed, __, back) => propose(title, { method: "POST", path: pathOf(service, said.name), body: changed }, back));
    dialog.querySelector(".buttons").prepend(h("button", { type: "button", onclick: again }, "Back"));
  }, "Next");
}

async function offerPeers() {
  const list = $("peers") ?? document.body.appendChild(h("datalist", { id: "peers" }));
  const [netdevs, cubes] = await Promise.all([read("netdevs"), read("topology")]);
  const free = cubes.flatMap((cube) => (cube.ports ?? []).filter((port) => !port.peer).map((port) => `${cube.name}:${port.name}`));
  list.replaceChildren(...[...free, ...netdevs.map((netdev) => netdev.name)].map((name) => h("option", { value: name })));
}
