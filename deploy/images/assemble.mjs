// Collects what services need at run time: `node deploy/images/assemble.mjs FOLDER SERVICE...`. Their own and their workspaces'
// built files, the files that they read, and the packages that these depend on, each where Node looks for it.
import { cpSync, existsSync, mkdirSync, readFileSync, realpathSync, symlinkSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../..');
/** What a workspace reads besides its dist. */
const FILES = {
  'packages/rpc': ['proto'],
  'packages/rendezvous': ['packages/rendezvous/scripts'],
  'packages/native': ['packages/native/ulysses.node'],
};

const [folder, ...services] = process.argv.slice(2);
if (folder === undefined || services.length === 0) throw new Error('expected FOLDER SERVICE...');
const target = resolve(folder);
const done = new Set();
for (const service of services) add(join(root, 'services', service));

/** A package, its files and, from where it lies, everything that it depends on. */
function add(place) {
  if (done.has(place)) return;
  done.add(place);
  const path = relative(root, place);
  const { dependencies = {}, optionalDependencies = {} } = JSON.parse(
    readFileSync(join(place, 'package.json'), 'utf8'),
  );
  if (path.startsWith('node_modules') || path.includes('/node_modules/')) {
    // What is nested in it is found by its dependants' own walk.
    copy(path, (source) => relative(place, source).split('/')[0] !== 'node_modules');
  } else {
    const built = (source) => !/\.(?:test\.js|d\.ts|map|tsbuildinfo)$/.test(source);
    for (const each of [`${path}/package.json`, `${path}/dist`, ...(FILES[path] ?? [])]) copy(each, built);
  }
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
    const found = find(name, place);
    if (found === null && name in optionalDependencies) continue;
    if (found === null) throw new Error(`${path} needs ${name}, which is not installed`);
    const real = realpathSync(found);
    if (real !== found) link(found, real);
    add(real);
  }
}

/** As Node looks for it: in the node_modules of every folder from `place` up. */
function find(name, place) {
  for (let at = place; at.startsWith(root); at = dirname(at)) {
    const candidate = join(at, 'node_modules', name);
    if (existsSync(join(candidate, 'package.json'))) return candidate;
  }
  return null;
}

function copy(path, filter) {
  cpSync(join(root, path), join(target, path), { recursive: true, filter });
}

/** A workspace is a link in node_modules. */
function link(from, to) {
  if (done.has(from)) return;
  done.add(from);
  const place = join(target, relative(root, from));
  mkdirSync(dirname(place), { recursive: true });
  symlinkSync(relative(dirname(from), to), place);
}
