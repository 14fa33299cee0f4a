// Runs a Redis for tests: `node scripts/redis-server.mjs [--port N] [--sentinel CONFIGURATION] [--tls] [-- REDIS OPTIONS]`.
// Takes redis-server from PATH, or fetches it without root through the system's package manager into .cache/redis.
// Prints one JSON line when it accepts connections, {"ready":true,"port":…,"pid":…}, and keeps nothing on disk. It ends
// with its parent (an IPC channel), on SIGTERM, and when the server ends.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { findRedis } from './find-redis.mjs';

function freePort() {
  return new Promise((found) => {
    const server = createServer();
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => found(port));
    });
  });
}

const { values, positionals } = parseArgs({
  options: {
    port: { type: 'string' },
    sentinel: { type: 'string' },
    tls: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});
const { programs, libraries } = findRedis();
const program = join(programs, 'redis-server');
const port = Number(values.port ?? (await freePort()));
const folder = mkdtempSync(join(tmpdir(), 'ulysses-redis-'));
const env = libraries === null ? process.env : { ...process.env, LD_LIBRARY_PATH: libraries };
const portOptions = values.tls ? ['--port', '0', '--tls-port', String(port)] : ['--port', String(port)];
const place = ['--bind', '127.0.0.1', ...portOptions, '--dir', folder];
const args = ['--save', '', '--appendonly', 'no', ...place, ...positionals];
if (values.sentinel !== undefined) {
  // A Sentinel rewrites its configuration, which therefore has to be a file; `--sentinel` is its text.
  const file = join(folder, 'sentinel.conf');
  writeFileSync(file, `bind 127.0.0.1\nport ${port}\ndir ${folder}\n${values.sentinel}\n`);
  args.splice(0, args.length, file, '--sentinel');
}
const log = [];
const server = spawn(program, args, { cwd: folder, env, stdio: ['ignore', 'pipe', 'inherit'] });
const stop = () => server.kill('SIGKILL');
process.on('disconnect', stop);
process.on('SIGTERM', stop);
server.on('exit', (code) => {
  rmSync(folder, { recursive: true, force: true });
  if (code !== 0 && code !== null) console.error(log.join('\n'));
  process.exit(code ?? 0);
});
createInterface({ input: server.stdout }).on('line', (line) => {
  log.push(line);
  if (/Ready to accept connections|\+monitor master/.test(line)) {
    console.log(JSON.stringify({ ready: true, port, pid: server.pid }));
  }
});
