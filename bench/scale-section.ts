import type { Result } from './results.js';

/** The section of `docs/benchmarks.md` about predictions: inputs, model against measurement, and ranks that are not here. */
export function scaleSection(
  results: readonly Result[],
  place: string,
  table: (rows: readonly Result[]) => string,
): string {
  const inputs = results.filter(({ case: name }) => name.startsWith('input '));
  const compared = results.filter(({ case: name }) => name.startsWith('model '));
  const predicted = results.filter(({ scale }) => scale !== undefined);
  return `## More ranks, by a model

\`npm run bench:scale\`, ${place}. The plans are the product's own, at every P; what they carry and compute runs through an event model
(\`bench/scale\`). All that it is told of this machine:

| input | what | value |
| ----- | ---- | ----- |
${inputs.map(input).join('\n')}

Of empty forwards it is told the CPU time of each process, and no time by the clock. Model against measurement; _ratio_ is the larger over
the smaller. Processes are all on this host; in _link_ the trainer and the cluster are joined by the limited link of _overlap_ (see below), whose
rate and latency the model is told:

${table(compared)}

From here on nothing is measured: ${predicted[0]?.what.replace('whole step by the model, against padded and aligned: ', '').replace(/s = \d+/, `s = 4096 P − 3`) ?? '–'}, one
rank per host, with the link, latency and device of the flags (by default 400 Gbit/s each way, 10 µs, 400 TFLOP/s).
_padded_ is an aligned exchange: rows and heads padded until they divide, KV heads repeated. _Bytes_ and _balance_ are of the
rank that has most, forward and backward, self-slices included; balance is its work over the mean.

| P | way | agreement, ms | exchange and arithmetic, ms | padded, ms | ratio | ratio of whole steps | GB per rank | padded | balance |
| - | --- | ------------- | --------------------------- | ---------- | ----- | -------------------- | ----------- | ------ | ------- |
${predicted.map(prediction).join('\n')}

What the model assumes, and leaves out:

- A message holds its sender's link for a fixed time and its bytes over the rate, arrives one latency later, and holds the receiver's
  link for the same bytes, cut through, first come, first served (LogGP). Links of one sender have equal shares. The network
  between hosts has no bottleneck of its own, nothing is lost, receivers never stop senders.
- Owner m is beside rank m; relays are not counted, as the first hop stays on the host. Copies within a host take its cores where
  ranks share one, and nothing where they do not. Heads are computed unit by unit as rows come, results leave at once.
- Arithmetic is the matrix products over one rate, whatever a unit's shape: no kernel is slower at its edges.
- Agreement and commit are six one-way latencies and CPU time: of the coordinator, which grows with ranks and owners, then of a rank, which grows
  with the owners that it hears, and of an owner. On one host all of it shares the cores; on hosts of their own ranks and owners
  do theirs side by side, and only the coordinator's is of all of them. Each is a line through empty forwards of 2 to 16 ranks and owners on
  this machine, drawn on to 1024; all of it is counted as if nothing of it overlapped with rows on their way, so it is an upper bound.
`;
}

function input({ case: name, what, value, unit }: Result): string {
  return `| ${name.replace('input ', '')} | ${what} | ${value} ${unit} |`;
}

function prediction({ case: name, ratio, scale }: Result): string {
  if (scale === undefined || ratio === null) return '';
  const gigabytes = (bytes: number): string => Number((bytes / 1e9).toPrecision(3)).toString();
  const cells = [
    scale.cpSize,
    name.split(' ')[1],
    scale.controlMs,
    scale.workMs,
    scale.peerWorkMs,
    Number((scale.workMs / scale.peerWorkMs).toPrecision(3)),
    ratio,
    gigabytes(scale.bytesPerRank),
    gigabytes(scale.peerBytesPerRank),
    scale.balance,
  ];
  return `| ${cells.join(' | ')} |`;
}
