// A service's model (JSON Schema with pcn's own words) as what the page draws: leaves, containers, lists; configuration and state. Pure.

const FRAMEWORK = new Set(["name", "service-name"]);

// The members of a node in the model's order: {name, schema, kind: leaf | leaves | list | container, state, initOnly}.
export function membersOf(schema, inState = false) {
  const members = Object.entries(schema.properties ?? {}).map(([name, each]) => memberOf(name, each, inState));
  return [...members, ...Object.entries(schema["x-state"] ?? {}).map(([name, each]) => memberOf(name, each, true))];
}

function memberOf(name, schema, state) {
  const kind = schema.type === "array" ? (schema["x-yang-key"] || schema.items?.type === "object" ? "list" : "leaves")
    : schema.type === "object" || schema.properties ? "container" : "leaf";
  return { name, schema, kind, state, initOnly: Boolean(schema["x-init-only"]) };
}

export const isFramework = (name) => FRAMEWORK.has(name);
export const keysOf = (member) => member.schema["x-yang-key"] ?? [];
export const entrySchema = (member) => member.schema.items ?? {};
export const isFlat = (schema, state) => membersOf(schema, state).every((each) => each.kind === "leaf" || each.kind === "leaves");

// A list of state that has the keys of a list of configuration stands beside it: counters beside rules.
export function companionOf(member, siblings) {
  if (member.state || !keysOf(member).length) return undefined;
  return siblings.find((other) => other.state && other.kind === "list" && isFlat(entrySchema(other), true)
    && keysOf(member).join() === keysOf(other).join());
}

// Actions of a node: {name, description, edits: "append" ..., list}.
export function actionsOf(schema) {
  return Object.entries(schema["x-actions"] ?? {}).map(([name, each]) => {
    const [edits, list] = each["x-pcn-edit"] ?? [];
    return { name, description: each.description, edits, list, input: each.input };
  });
}

// What of a value is configuration: the body of a PUT.
export function configOf(schema, value) {
  const found = {};
  for (const member of membersOf(schema)) {
    if (member.state || !(member.name in value)) continue;
    const at = value[member.name];
    if (member.kind === "container") found[member.name] = configOf(member.schema, at);
    else if (member.kind === "list") found[member.name] = at.map((entry) => configOf(entrySchema(member), entry));
    else found[member.name] = at;
  }
  return found;
}

// A leaf's choices, and what it is typed into with.
export function choicesOf(schema) {
  if (schema.type === "boolean") return ["true", "false"];
  return schema.enum?.map(String);
}

export const isNumber = (schema) => schema.type === "integer" || schema.type === "number" || (Array.isArray(schema.type) && schema.type[0] === "integer");
export const isCounter = (member) => member.state && isNumber(member.schema) && /^(pkts|packets|bytes|.*-pkts|.*-packets|.*-bytes|drops|hits)$/.test(member.name);

// What was typed, as the leaf's type has it.
export function typed(schema, text) {
  if (schema.type === "boolean") return text === "true";
  if (isNumber(schema) && /^-?\d{1,15}$/.test(text)) return Number(text);
  return text;
}
