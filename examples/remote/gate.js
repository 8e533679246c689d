// The gate's control plane without pcn and without Python: HTTP/1.1 and JSON, as docs/rpc.md has them.
//
//     node examples/remote/gate.js /run/pcn/services/gate.sock
//     node examples/remote/gate.js 10.0.0.1:7443 ca.pem cert.pem key.pem
'use strict';
const fs = require('fs'), http = require('http'), https = require('https'), path = require('path');

const read = (name) => fs.readFileSync(path.join(__dirname, name), 'utf8');
const b64 = (bytes) => Buffer.from(bytes).toString('base64');
const about = {
  contract: 1, name: 'gate', version: '1.0.0', schema: JSON.parse(read('gate.schema.json')), files: {'gate.c': read('gate.c')},
  functions: ['tables', 'config', 'check', 'cubes', 'packet_in'], tables: ['denied'],
};

const functions = {
  'GET /service': () => about,
  'POST /tables': ({config}) => ({denied: {
    rows: (config.denied || []).map((mac) => [b64([...mac.split(':').map((byte) => parseInt(byte, 16)), 0, 0]), b64([1, 0, 0, 0])]),
  }}),
  'POST /config': ({rows}) => {
    const macs = (rows.denied || []).map(([key]) => [...Buffer.from(key, 'base64').subarray(0, 6)]
        .map((byte) => byte.toString(16).padStart(2, '0')).join(':'));
    return macs.length ? {denied: macs.sort()} : {};
  },
  'POST /check': ({config}) => (config.denied || [])
      .flatMap((mac, n) => parseInt(mac.slice(0, 2), 16) & 1 ? [[['denied', n], `${mac} is a group's address, and no station's`, 'error']] : []),
  'POST /cubes': ({cubes}) => ({cubes: cubes.map((cube) => cube.name)}),
  'POST /packet_in': ({packets}) => ({out: packets.map(({cube, packet, port}) => {
    const frame = Buffer.from(packet, 'base64');
    const turned = Buffer.concat([frame.subarray(6, 12), frame.subarray(0, 6), frame.subarray(12)]);
    return {cube, packet: b64(turned), port, direction: 'EGRESS'};
  })}),
};

function answer(request, response) {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    let status = 200, value;
    try {
      const call = functions[`${request.method} ${request.url}`], body = Buffer.concat(parts);
      value = call ? call(body.length ? JSON.parse(body) : null) : {error: `there is no ${request.method} ${request.url}`};
      status = call ? 200 : 404;
    } catch (error) {
      [status, value] = [500, {error: String(error)}];
    }
    const content = JSON.stringify(value);
    response.writeHead(status, {'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(content)});
    response.end(content);
  });
}

const [where, ca, cert, key] = process.argv.slice(2);
if (ca) {
  const options = {
    ca: fs.readFileSync(ca), cert: fs.readFileSync(cert), key: fs.readFileSync(key), minVersion: 'TLSv1.3', requestCert: true,
    rejectUnauthorized: true,
  };
  const [host, port] = where.split(':');
  https.createServer(options, answer).listen(Number(port), host);
} else {
  process.umask(0o177);
  fs.mkdirSync(path.dirname(where), {recursive: true, mode: 0o700});
  const fresh = `${where}.${process.pid}`;
  http.createServer(answer).listen(fresh, () => fs.renameSync(fresh, where)); // who looks finds one that listens
}
