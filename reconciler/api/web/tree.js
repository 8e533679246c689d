// A cube's configuration and state, drawn from its model: leaves as terms, containers as sections, lists as tables.

import { pathOf } from "./api.js";
import { grouped, h, short } from "./dom.js";
import { act, addEntry, editNode, remove } from "./edit.js";
import { actionsOf, companionOf, entrySchema, isCounter, isFlat, isFramework, isNumber, keysOf, membersOf } from "./model.js";

const FEW = 50; // rows of a table that are drawn at once
const before = new Map(); // counters by path: how many and when, for rates
export const opened = new Map(); // what the reader opened or closed, by path

// `at`: {cube, path: words below the cube, writable, redraw}.
export function nodeOf(schema, value, at, state = false, keys = []) {
  const all = membersOf(schema, state).filter((member) => !keys.includes(member.name) && !(at.path.length === 0 && isFramework(member.name)));
  const beside = new Map(), companions = new Set();
  for (const member of all) {
    const companion = member.kind === "list" && companionOf(member, all);
    if (companion) { beside.set(member.name, companion); companions.add(companion.name); }
  }
  const there = all.filter((member) => !companions.has(member.name));
  const leaves = there.filter((member) => (member.kind === "leaf" || member.kind === "leaves") && shown(value[member.name]));
  const buttons = [];
  if (at.writable && !state && all.some((member) => !member.state && (member.kind === "leaf" || member.kind === "leaves") && !member.initOnly)) {
    buttons.push(button("Edit", `Edit ${name(at)}`, () => editNode(schema, value, at, keys)));
  }
  if (at.writable) {
    for (const action of actionsOf(schema)) {
      if (!action.edits) buttons.push(button(action.name, action.description, () => act(action, at)));
    }
  }
  return [
    leaves.length ? h("dl", {}, leaves.map((member) => leafOf(member, value[member.name], at))) : null,
    buttons.length ? h("p", { class: "buttons" }, buttons) : null,
    there.filter((member) => member.kind === "container").map((member) => section(member.name, member.schema.description, at,
      nodeOf(member.schema, value[member.name] ?? {}, below(at, member.name), member.state), member.state)),
    there.filter((member) => member.kind === "list").map((member) => listOf(member, value, at, beside.get(member.name), schema)),
  ];
}

const shown = (value) => value !== undefined && !(Array.isArray(value) && value.length === 0);
const below = (at, ...words) => ({ ...at, path: [...at.path, ...words] });
const name = (at) => [at.cube.name, ...at.path].join(" ");
const button = (text, label, action) => h("button", { type: "button", class: "small", "aria-label": label, title: label, onclick: action }, text);

function leafOf(member, value, at) {
  const units = member.schema["x-units"], isDefault = member.schema.default === value;
  return h("div", { class: isDefault ? "default" : "" },
    h("dt", { title: member.schema.description }, member.name),
    h("dd", {}, text(value), units ? h("small", {}, ` ${units}`) : null, isDefault ? h("small", {}, " default") : null,
      isCounter(member) ? rateOf([at.cube.name, ...at.path, member.name].join("/"), value) : null));
}

export function text(value) {
  if (Array.isArray(value)) return value.map(text).join(", ");
  if (value !== null && typeof value === "object") return JSON.stringify(value);
  return typeof value === "number" ? grouped(value) : String(value ?? "");
}

export function section(title, description, at, content, state = false, count) {
  const key = [at.cube.name, ...at.path, title].join("/");
  const element = h("details", { data: { key }, open: opened.get(key) ?? !(count > 200) },
    h("summary", { title: description }, title, count === undefined ? null : h("small", {}, ` ${count}`),
      state ? h("span", { class: "tag" }, "state") : null), content);
  element.addEventListener("toggle", () => opened.set(key, element.open));
  return element;
}

function listOf(member, value, at, companion, parent) {
  const entries = value[member.name] ?? [], here = below(at, member.name), schema = entrySchema(member);
  const writable = at.writable && !member.state;
  const append = actionsOf(parent).find((action) => action.edits === "append" && action.list === member.name);
  const add = writable ? h("p", { class: "buttons" }, button("Add", `Add to ${name(here)}`, () => addEntry(member, here, append && below(at, append.name)))) : null;
  if (!entries.length && !companion) {
    return member.state || !writable ? null : section(member.name, member.schema.description, at, [h("p", { class: "none" }, "none"), add], member.state, 0);
  }
  const content = isFlat(schema, member.state)
    ? tableOf(member, schema, entries, { ...here, writable }, companion, companion ? value[companion.name] ?? [] : [])
    : entries.map((entry) => entryOf(member, schema, entry, { ...here, writable }));
  return section(member.name, member.schema.description, at, [content, add], member.state, entries.length);
}

const wordsOf = (member, entry) => keysOf(member).map((key) => String(entry[key]));

function entryOf(member, schema, entry, at) {
  const words = wordsOf(member, entry), here = below(at, ...words);
  const content = [nodeOf(schema, entry, here, member.state, keysOf(member))];
  if (at.writable) content.push(h("p", { class: "buttons" }, button("Delete", `Delete ${name(here)}`, () => remove(here))));
  return section(words.join(" "), member.schema.description, at, content);
}

function tableOf(member, schema, entries, at, companion, counters) {
  const keys = keysOf(member), members = membersOf(schema, member.state);
  const used = members.filter((each) => entries.some((entry) => shown(entry[each.name])));
  const more = companion ? membersOf(entrySchema(companion), true).filter((each) => !keys.includes(each.name)) : [];
  const beside = new Map(counters.map((entry) => [keys.map((key) => String(entry[key])).join(" "), entry]));
  const limitKey = `rows ${[at.cube.name, ...at.path].join("/")}`, limit = opened.get(limitKey) ?? FEW;
  const mine = new Set(entries.map((entry) => wordsOf(member, entry).join(" ")));
  const others = [...beside].filter(([key]) => !mine.has(key)).map(([, entry]) => entry);
  const columns = used.length ? used : members.slice(0, 1), isKeyOf = (each) => keys.includes(each.name);
  const key = (entry, ...words) => [at.cube.name, ...at.path, ...keys.map((each) => entry[each]), ...words].join("/");
  const count = (each, entry) => (isCounter(each) && entry?.[each.name] !== undefined ? rateOf(key(entry, each.name), entry[each.name]) : null);
  const cell = (each, entry) => h(isKeyOf(each) ? "th" : "td", { scope: isKeyOf(each) ? "row" : null, class: numeric(each) && !isKeyOf(each) ? "number" : null },
    text(entry?.[each.name]), count(each, entry));
  const row = (entry, counted, isEntry) => h("tr", {},
    columns.filter(isKeyOf).map((each) => cell(each, entry)), more.map((each) => cell(each, counted)),
    columns.filter((each) => !isKeyOf(each)).map((each) => cell(each, isEntry ? entry : undefined)),
    at.writable ? h("td", { class: "buttons" }, isEntry ? rowButtons(member, schema, entry, at) : null) : null);
  const head = (each) => h("th", { scope: "col", title: each.schema.description, class: numeric(each) && !isKeyOf(each) ? "number" : null }, each.name,
    each.schema["x-units"] && !isCounter(each) ? h("small", {}, ` ${each.schema["x-units"]}`) : null);
  return h("div", { class: "table", tabindex: 0, role: "region", "aria-label": name(at) }, h("table", {},
    h("thead", {}, h("tr", {}, [...columns.filter(isKeyOf), ...more, ...columns.filter((each) => !isKeyOf(each))].map(head), at.writable ? h("td") : null)),
    h("tbody", {}, entries.slice(0, limit).map((entry) => row(entry, beside.get(wordsOf(member, entry).join(" ")), true)),
      others.map((entry) => row(entry, entry, false)))),
  entries.length > limit ? h("p", { class: "buttons" }, button(`${entries.length - limit} more`, "Show more rows", () => { opened.set(limitKey, limit + 500); at.redraw(); })) : null);
}

const numeric = (member) => isNumber(member.schema);

function rowButtons(member, schema, entry, at) {
  const here = below(at, ...wordsOf(member, entry));
  return [
    membersOf(schema).length > keysOf(member).length ? button("Edit", `Edit ${name(here)}`, () => editNode(schema, entry, here, keysOf(member))) : null,
    button("Delete", `Delete ${name(here)}`, () => remove(here)),
  ];
}

// What a counter grew by in a second since it was last read.
function rateOf(key, value) {
  const now = performance.now() / 1000, was = before.get(key), count = Number(value);
  if (!was || was.count > count) before.set(key, { count, at: now, rate: 0 });
  else if (now - was.at > 0.8) before.set(key, { count, at: now, rate: (count - was.count) / (now - was.at) });
  const { rate } = before.get(key);
  return rate > 0 ? h("small", { class: "rate" }, ` +${short(rate)}/s`) : null;
}

export const urlOf = (at) => pathOf(at.cube.name, ...at.path);
