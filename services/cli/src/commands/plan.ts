import { createPlan, explainPlan, rankTables } from '@ulysses/plan';
import { helpText } from '@ulysses/runtime';
import type { Command } from '../command.js';
import { readConfig } from '../config.js';
import { formatPlan } from '../plan/format-plan.js';
import { PLAN_OPTIONS, PLAN_CHECKS, retentionOf, specOf } from '../plan/plan-options.js';

const HELP = `ulysses plan: explains a step without a cluster: who computes which rows, and what travels.

Usage: ulysses plan --context-parallel-size N (--sequence N | --splits N,N,... | --cu-seqlens N,N,...) --heads N [options]

${helpText(PLAN_OPTIONS)}

Examples:
  ulysses plan --context-parallel-size 4 --sequence 1021 --heads 6 --kv-heads 2 --causal
  ulysses plan --context-parallel-size 3 --splits 9,21,15 --heads 8 --strategy balanced
  ulysses plan --context-parallel-size 4 --cu-seqlens 0,9001,9018,9019,9352 --heads 7 --causal --owners 1
  ulysses plan --context-parallel-size 4 --sequence 8190 --heads 8 --kv-heads 2 --context-parallel-kv-cache-policy full
  ulysses plan --context-parallel-size 8 --sequence 8190 --heads 28 --kv-heads 4 --dtype bf16 --json | jq .balance`;

export const plan: Command = {
  summary: 'explain a step: splits, units, bytes, balance, memory',
  help: HELP,
  async run(argv) {
    const config = readConfig(PLAN_OPTIONS, argv, PLAN_CHECKS);
    const planned = createPlan(specOf(config), config.contextParallelSize);
    const report = explainPlan(planned, retentionOf(config, planned));
    const tables = rankTables(planned);
    if (config.json) {
      const units = tables.map((table) => table.units);
      console.log(JSON.stringify({ ...report, spec: planned.spec, cuts: planned.cuts, units }, null, 2));
    } else {
      console.log(formatPlan(planned.spec, report, tables));
    }
    return 0;
  },
};
