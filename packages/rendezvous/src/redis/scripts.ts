import { readFileSync } from 'node:fs';
import { script, type Script } from './redis-connection.js';

const read = (name: string): string =>
  readFileSync(new URL(`../../scripts/${name}.lua`, import.meta.url), 'utf8');
const state = read('state');
const onState = (name: string): Script => script(`${state}\n${read(name)}`);

/** The scripts that change or read a cluster's membership; what each does is said in its file. */
export const SCRIPTS = {
  configure: onState('configure'),
  join: onState('join'),
  renew: onState('renew'),
  release: onState('release'),
  read: onState('read'),
};

/** Leadership among coordinators; it keeps no membership. */
export const LEAD = script(read('lead'));
