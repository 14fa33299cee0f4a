import type { WireInput, WireOutput } from '../load-proto.js';
import type { ClusterStatus, RankStatus, StepTrace } from '../messages.js';
import { required } from './fields.js';
import { stepKeyFromProto, stepKeyToProto } from './step-key.js';
import { rankAddressFromProto, rankAddressToProto } from './rank-address.js';

export function rankStatusToProto(status: RankStatus): WireInput<'RankStatus'> {
  const traces = status.traces.map(stepTraceToProto);
  return { ...status, rank: rankAddressToProto(status.rank), traces };
}

export function rankStatusFromProto(message: WireOutput<'RankStatus'> | null, path: string): RankStatus {
  const status = required(message, path, 'RankStatus');
  const rank = rankAddressFromProto(status.rank, `${path}.rank`);
  return { ...status, rank, traces: stepTracesFromProto(status.traces, `${path}.traces`) };
}

export function clusterStatusToProto(status: ClusterStatus): WireInput<'GetStatusResponse'> {
  const { ranks, traces } = status;
  return { ...status, ranks: ranks.map(rankStatusToProto), traces: traces.map(stepTraceToProto) };
}

export function clusterStatusFromProto(
  message: WireOutput<'GetStatusResponse'>,
  path: string,
): ClusterStatus {
  return {
    ...message,
    ranks: message.ranks.map((status, i) => rankStatusFromProto(status, `${path}.ranks[${i}]`)),
    traces: stepTracesFromProto(message.traces, `${path}.traces`),
  };
}

function stepTraceToProto({ step, spans }: StepTrace): WireInput<'StepTrace'> {
  return { step: stepKeyToProto(step), spans: [...spans] };
}

function stepTracesFromProto(messages: readonly WireOutput<'StepTrace'>[], path: string): StepTrace[] {
  return messages.map(({ step, spans }, i) => {
    return { step: stepKeyFromProto(step, `${path}[${i}].step`), spans };
  });
}
