// Requests to the API. A refusal becomes an Error with the words that the server gave.

const PREFIX = "/polycube/v1/";

export class Refused extends Error {
  constructor(status, message, path) {
    super(message);
    Object.assign(this, { status, path });
  }
}

export const pathOf = (...words) => words.map((word) => encodeURIComponent(word)).join("/");

async function ask(method, url, body, etag) {
  const headers = { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...(etag ? { "If-Match": etag } : {}) };
  let answer;
  try {
    answer = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" });
  } catch {
    throw new Refused(0, "the API does not answer");
  }
  const text = await answer.text();
  const data = text ? JSON.parse(text) : null;
  if (!answer.ok) {
    const error = data?.["ietf-restconf:errors"]?.error?.[0];
    throw new Refused(answer.status, error?.["error-message"] ?? answer.statusText, error?.["error-path"]);
  }
  return { data, etag: answer.headers.get("ETag") };
}

export const read = async (path) => (await ask("GET", PREFIX + path)).data;
const models = new Map();
export function modelOf(service) {
  if (!models.has(service)) models.set(service, ask("GET", `/web/models/${pathOf(service)}`).then(({ data }) => data));
  return models.get(service);
}

// A write is {method, path, body}; path "" with heal: what was applied is made so again.
const urlOf = (write) => (write.heal ? "/web/heal" : PREFIX + write.path);
export const planOf = (write) => ask(write.method, `${urlOf(write)}?plan`, write.body);
export const perform = (write, etag) => ask(write.method, urlOf(write), write.body, etag);
