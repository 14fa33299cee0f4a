// Preloaded into a cluster's processes whose memory is measured: V8 lets garbage grow for minutes, and resident memory
// is to show what is held.
import { setInterval } from 'node:timers';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');
setInterval(collect, 500).unref();
