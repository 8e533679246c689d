// What the server tells (GET /events), kept as it is now, and the rates that follow from counters.

const WINDOW = 2; // seconds that a rate is taken over: a ping each second is then 1, and not 2 and 0 by turns

export const live = {
  connected: false, picture: null, drift: [], resets: [], agent: {}, counters: new Map(), rates: new Map(), drops: new Map(),
};
const listeners = new Map();
let samples = [];

export function on(event, action) {
  listeners.set(event, [...(listeners.get(event) ?? []), action]);
}

function tell(event, data) {
  for (const action of listeners.get(event) ?? []) action(data);
}

let source = null, every = null, leaving = false;
addEventListener("beforeunload", () => { leaving = true; });
addEventListener("pageshow", () => { leaving = false; });

// `withLog`: the cubes' log, too, of which each line can be read once: `pcn log` is refused meanwhile.
export function listen(withLog = false) {
  source?.close();
  source = new EventSource(withLog ? "/events?log" : "/events");
  const when = (event, action) => source.addEventListener(event, (message) => action(JSON.parse(message.data)));
  source.onopen = () => connection(true);
  source.onerror = ({ target }) => {
    if (target !== source || leaving) return;
    if (withLog && target.readyState === EventSource.CLOSED) tell("log", { refused: true }); // by an answer, and not for a while
    else connection(false);
  };
  when("graph", ({ at }) => {
    if (at.error) return tell("problem", at.error);
    live.picture = at;
    tell("graph", at);
  });
  when("drift", ({ at }) => {
    if (at.error) return tell("problem", at.error);
    const before = live.drift;
    [live.drift, live.resets] = [at.drift, at.state_resets];
    tell("drift", { before, now: at.drift });
  });
  when("agent", ({ at }) => { live.agent = at; tell("agent", at); });
  when("counters", ({ at }) => { if (Array.isArray(at)) counted(at); });
  for (const event of ["write", "plan", "apply", "failed", "topology", "log"]) when(event, (data) => tell(event, data));
  every ??= setInterval(() => { if (samples.length) rate(); }, 500);
}

function connection(is) {
  if (live.connected === is) return;
  live.connected = is;
  if (is) samples = [];
  tell("connection", is);
}

function counted(cubes) {
  live.counters = new Map(cubes.map((cube) => [cube.name, cube]));
  const totals = new Map();
  for (const cube of cubes) {
    totals.set(`drops ${cube.name}`, Object.values(cube.drops).reduce((sum, count) => sum + count, 0));
    for (const port of cube.ports) {
      for (const what of ["rx_packets", "tx_packets", "rx_bytes", "tx_bytes"]) {
        if (what in port) totals.set(`${what} ${cube.name}:${port.name}`, port[what]);
      }
    }
  }
  samples.push({ at: performance.now() / 1000, totals });
  rate();
}

// The server tells counters when they change: between two tellings they are as they were.
function rate() {
  const now = performance.now() / 1000;
  while (samples.length > 2 && samples[1].at <= now - WINDOW) samples.shift();
  const [first, last] = [samples[0], samples.at(-1)];
  const seconds = Math.max(0.5, Math.min(WINDOW, now - first.at));
  for (const [name, total] of last.totals) {
    const before = first.totals.get(name) ?? total;
    live.rates.set(name, total < before ? 0 : (total - before) / seconds);
  }
  tell("rates");
}

export function portRates(place) {
  if (!live.rates.has(`rx_packets ${place}`)) return null;
  const of = (what) => live.rates.get(`${what} ${place}`) ?? 0;
  return { inPackets: of("rx_packets"), outPackets: of("tx_packets"), inBytes: of("rx_bytes"), outBytes: of("tx_bytes") };
}

export const dropRate = (cube) => live.rates.get(`drops ${cube}`) ?? 0;
export const cubeNamed = (name) => live.picture?.cubes.find((cube) => cube.name === name);
export const isWritable = (cube) => cube.topology === live.picture.writable;

// Addresses that are drift, by "cube/<name>" or "netdev/<name>".
export function driftOf(subject) {
  return live.drift.filter((entry) => entry.subject === subject);
}
