import { traceName, type ClusterStatus, type StepTrace, type TraceSpan } from '@ulysses/rpc';

/** One line of the picture. */
export interface TracedProcess {
  /** `coordinator` or `rank 2`. */
  readonly process: string;
  readonly step: string;
  readonly spans: readonly TraceSpan[];
}

/** Those that took part in the step which was asked for, the coordinator first. */
export function tracedProcesses({ traces, ranks }: ClusterStatus): TracedProcess[] {
  const of = (process: string, found: readonly StepTrace[]): TracedProcess[] =>
    found.map(({ step, spans }) => ({ process, step: traceName(step), spans }));
  return [
    ...of('coordinator', traces),
    ...ranks.flatMap(({ rank, traces: found }) => of(`rank ${rank.rank}`, found)),
  ];
}
