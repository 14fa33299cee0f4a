import { Owners } from './owners.js';
import { requireParent } from './read-command-line.js';

// A job of its own that has large steps in flight while it is told to; `aggressor.ts` starts it and talks over the IPC channel.

export type Order = { readonly kind: 'go' } | { readonly kind: 'rest' };
export type Word = { readonly kind: 'ready' | 'busy' | 'resting' };

/** So many steps in flight at a time. */
const IN_FLIGHT = 4;
const OWNERS = 4;
/** Rows that see only themselves: nothing to compute, everything to carry. */
const DIAGONAL = { causal: false, mask: { left: 0, right: 0 } } as const;

requireParent('npm run bench:step');
const [address = ''] = process.argv.slice(2);
const owners = await Owners.connect(address, OWNERS, 0, 'aggressor');
const shards = owners.shards({ rows: 4096, heads: 16, headSize: 64, dtype: 'f32' });
let goesOn = false;
let running: Promise<void> = Promise.resolve();

function say(word: Word): void {
  process.send!(word);
}

async function flood(): Promise<void> {
  const one = async (): Promise<void> => {
    while (goesOn) {
      await owners.forward(shards, DIAGONAL);
      say({ kind: 'busy' });
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, one));
  say({ kind: 'resting' });
}

process.on('message', ({ kind }: Order) => {
  goesOn = kind === 'go';
  if (goesOn) running = running.then(flood);
});
process.on('disconnect', () => process.exit(0));
say({ kind: 'ready' });
