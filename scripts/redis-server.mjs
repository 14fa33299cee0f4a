// Runs a Redis for tests: `node scripts/redis-server.mjs [--port N] [--sentinel CONFIGURATION] [--tls] [-- REDIS OPTIONS]`.
// Takes redis-server from PATH, or fetches it without root through the system's package manager into .cache/redis.
// Prints one JSON line when it accepts connections, {"ready":true,"port":…,"pid":…}, and keeps nothing on disk. It ends
// with its parent (an IPC channel), on SIGTERM, and when the server ends.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

const CACHE = resolve(import.meta.dirname, '../.cache/redis');

/** Where redis-server is, and the folder of the libraries that came with it. */
function findRedis() {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    if (existsSync(join(folder, 'redis-server')))
      return { program: join(folder, 'redis-server'), libraries: null };
  }
  if (!existsSync(CACHE)) fetchRedis();
  const lib = join(CACHE, 'usr/lib');
  const folders = readdirSync(lib, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const libraries = [lib, ...folders.map(({ name }) => join(lib, name))].join(delimiter);
  return { program: join(CACHE, 'usr/bin/redis-server'), libraries };
}

/** Debian's packages, unpacked beside the system and not into it: the server and the libraries that are missing. */
function fetchRedis() {
  const folder = `${CACHE}.${process.pid}`;
  try {
    mkdirSync(folder, { recursive: true });
    const apt = (command, ...args) =>
      execFileSync(command, args, { cwd: folder, encoding: 'utf8', stdio: 'pipe' });
    const depends = apt('apt-cache', 'depends', 'redis-tools');
    const named = [...depends.matchAll(/^ [ |]Depends: (lib\S+)$/gm)].map(([, name]) => name);
    const libraries = named.filter((name) => !isInstalled(name));
    apt('apt-get', 'download', 'redis-server', 'redis-tools', ...libraries);
    for (const name of readdirSync(folder).filter((each) => each.endsWith('.deb'))) {
      apt('dpkg', '-x', name, '.');
      rmSync(join(folder, name));
    }
    // Atomically: another test process may do the same.
    try {
      renameSync(folder, CACHE);
    } catch (error) {
      if (!existsSync(CACHE)) throw error;
    }
  } catch (error) {
    const reason = error.stderr || error.message;
    console.error(`redis-server is not on PATH, and apt-get could not fetch it: ${reason}
Install it, for example: apt-get install redis-server, dnf install redis, brew install redis`);
    process.exit(1);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function isInstalled(library) {
  try {
    return execFileSync('dpkg-query', ['-W', '-f', '${db:Status-Status}', library], {
      stdio: 'pipe',
    }).includes('installed');
  } catch {
    return false;
  }
}

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
const { program, libraries } = findRedis();
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
