import { traceName, type ClusterStatus, type StepTrace, type TraceSpan } from '@ulysses/rpc';

/** One line of the picture: spans that follow each other. */
export interface TracedProcess {
  /** `coordinator`, `rank 2`; `rank 2 in` and `rank 2 out` for its rows on their way, which goes on beside what it does. */
  readonly process: string;
  readonly step: string;
  readonly spans: readonly TraceSpan[];
}

const TRANSFERS: readonly string[] = ['transfer in', 'transfer out'];

/** Those that took part in the step which was asked for, the coordinator first. */
export function tracedProcesses({ traces, ranks }: ClusterStatus): TracedProcess[] {
  const of = (process: string, found: readonly StepTrace[]): TracedProcess[] =>
    found.flatMap(({ step, spans }) => {
      const line = (suffix: string, belongs: (phase: string) => boolean): TracedProcess => {
        const own = spans.filter(({ phase }) => belongs(phase));
        return { process: process + suffix, step: traceName(step), spans: own };
      };
      const beside = TRANSFERS.map((transfer) =>
        line(transfer.slice(transfer.indexOf(' ')), (phase) => phase === transfer),
      );
      const own = line('', (phase) => !TRANSFERS.includes(phase));
      return [own, ...beside.filter(({ spans }) => spans.length > 0)];
    });
  return [
    ...of('coordinator', traces),
    ...ranks.flatMap(({ rank, traces: found }) => of(`rank ${rank.rank}`, found)),
  ];
}
