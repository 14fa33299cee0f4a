import {
  pairTotals,
  type PlanReport,
  type RankTable,
  type Retention,
  type StepBytes,
  type StepSpec,
  type Unit,
} from '@ulysses/plan';
import { formatBytes } from '../format-bytes.js';
import { formatTable, type Column } from '../format-table.js';

/** More columns than this fit no screen: totals are shown then, and `--json` has every pair. */
const WIDEST = 12;
/** Units of one rank that are written out. */
const UNITS_SHOWN = 4;

/** What `explainPlan` found, for people. */
export function formatPlan(spec: StepSpec, report: PlanReport, tables: readonly RankTable[]): string {
  const sections = [
    formatHead(spec, report),
    `ranks, with memory for forward, for backward beyond it, and kept between the two with KV-cache policy none, half and full:\n${formatRanks(report)}`,
    `units:\n${tables.map((table) => formatUnits(spec, table)).join('\n')}`,
    formatPass('forward', report.forward),
    formatPass(`backward, ${formatRetention(report.retention)}`, report.backward),
    formatSums(report),
  ];
  return sections.join('\n\n');
}

function formatHead(spec: StepSpec, { planId, cpSize, owners, strategy, qRows, kvRows }: PlanReport): string {
  const { batch, qHeads, kvHeads, headSize, dtype, layout, qSplits, kvSplits } = spec;
  const lines = [
    `plan ${planId.slice(0, 16)}: ${qHeads} heads on ${cpSize} ranks, strategy ${strategy}`,
    `step: b ${batch}, s_q ${qRows}, s_kv ${kvRows}, h ${qHeads}, h_kv ${kvHeads}, d ${headSize}, ${dtype}, ${layout}, ${formatMask(spec)}`,
    `q rows of the ${owners} owners: ${formatSplits(qSplits)}`,
  ];
  if (kvSplits.some((rows, owner) => rows !== qSplits[owner])) {
    lines.push(`kv rows of the owners: ${formatSplits(kvSplits)}`);
  }
  return lines.join('\n');
}

function formatSplits(splits: readonly number[]): string {
  return shortList(splits.map(String), WIDEST, ' ');
}

function formatMask({ mask: { left, right, segments } }: StepSpec): string {
  const band = right === 0 ? 'causal' : 'full';
  const window = left === null ? '' : `, window ${left}`;
  const packed = segments === null ? '' : `, ${segments.cuSeqlensQ.length - 1} packed samples`;
  return `${band}${window}${packed}`;
}

const RANK_COLUMNS: readonly Column[] = [
  'rank',
  'units',
  'heads',
  'q rows',
  'kv rows',
  'work',
  'of its share',
  'forward',
  'backward',
  'none',
  'half',
  'full',
].map((text) => ({ title: text, align: 'right' }));

function formatRanks({ ranks }: PlanReport): string {
  const rows = ranks.map((cost) => [
    String(cost.rank),
    String(cost.units),
    decimal(cost.heads),
    String(cost.rows),
    String(cost.kvRows),
    String(cost.work),
    decimal(cost.workOverShare),
    formatBytes(cost.forwardBytes),
    `+ ${formatBytes(cost.backwardBytes)}`,
    formatBytes(cost.storeBytes.none),
    formatBytes(cost.storeBytes.half),
    formatBytes(cost.storeBytes.full),
  ]);
  return formatTable(RANK_COLUMNS, rows);
}

/** `rank 1: head 1 [512, 1021), head 2`; a sample is named when there are several. */
function formatUnits(spec: StepSpec, { rank, units }: RankTable): string {
  const sQ = spec.qSplits.reduce((sum, rows) => sum + rows, 0);
  const text = ({ batch, qHead, qBegin, qEnd }: Unit): string => {
    const sample = spec.batch === 1 ? '' : `sample ${batch} `;
    const rows = qBegin === 0 && qEnd === sQ ? '' : ` [${qBegin}, ${qEnd})`;
    return `${sample}head ${qHead}${rows}`;
  };
  return `  rank ${rank}: ${units.length === 0 ? 'idle' : shortList(units.map(text), UNITS_SHOWN, ', ')}`;
}

function formatPass(pass: string, { pairs, ownersToRanks, ranksToOwners }: StepBytes): string {
  const sums = `${pass}: owners send ${formatBytes(ownersToRanks)}, ranks return ${formatBytes(ranksToOwners)}`;
  const ranks = pairs[0]?.length ?? 0;
  if (ranks > WIDEST || pairs.length > WIDEST) return `${sums} (every pair: --json)`;
  const columns: Column[] = [{ title: 'sent / returned', align: 'left' }];
  for (let rank = 0; rank < ranks; rank++) columns.push({ title: `rank ${rank}`, align: 'right' });
  const rows = pairs.map((ofOwner, owner) => [
    `owner ${owner}`,
    ...ofOwner.map(pairTotals).map(({ toRank, toOwner }) => {
      return `${formatBytes(toRank)} / ${formatBytes(toOwner)}`;
    }),
  ]);
  return `${sums}\n${formatTable(columns, rows)}`;
}

function formatRetention({ keep, policy }: Retention): string {
  return keep === 'store' ? `kv-cache policy ${policy}` : `keep ${keep}`;
}

function formatSums({ balance, kvDuplication, kvCache, alignedSizes, flops }: PlanReport): string {
  const { rowsSent, rowsNeeded, factor } = kvDuplication;
  return [
    `balance: ${decimal(balance)} (largest rank over its fair share of visible work)`,
    `kv duplication: ${decimal(factor)} (${rowsSent} rows of KV heads sent, ${rowsNeeded} needed once)`,
    formatKvCache(kvCache),
    `flops: forward ${flops.forward.toExponential(3)}, backward ${flops.backward.toExponential(3)}`,
    `legal sizes: every cp_size unaligned; aligned ${alignedSizes.length === 0 ? 'at none' : `at ${alignedSizes.join(', ')}`}`,
  ].join('\n');
}

/** Half is about K, full about K and V, which are equally large. */
function formatKvCache({ shardBytes, gatheredBytes, savedBytes }: PlanReport['kvCache']): string {
  const [shard, gathered] = [formatBytes(shardBytes), formatBytes(gatheredBytes)];
  if (savedBytes === 0) {
    return `kv-cache policies: half and full save nothing, as no KV row is on two ranks: K of the owners (${shard}) stands in for K of the ranks (${gathered})`;
  }
  return `kv-cache policies: half saves ${formatBytes(savedBytes)}, as K of the owners (${shard}) stands in for K of the ranks (${gathered}), which backward sends again; full twice that, with V`;
}

function decimal(value: number): string {
  return value.toFixed(3);
}

function shortList(items: readonly string[], most: number, separator: string): string {
  const shown = items.slice(0, most).join(separator);
  return items.length > most ? `${shown}${separator}… ${items.length - most} more` : shown;
}
