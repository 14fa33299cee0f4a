import {
  planStepFromProto,
  planStepToProto,
  planStepUpdateFromProto,
  planStepUpdateToProto,
} from './convert/plan-step.js';
import { membershipFromProto, membershipToProto } from './convert/rank-address.js';
import {
  rankCommandFromProto,
  rankCommandToProto,
  rankEventFromProto,
  rankEventToProto,
} from './convert/rank-steps.js';
import {
  clusterStatusFromProto,
  clusterStatusToProto,
  rankStatusFromProto,
  rankStatusToProto,
} from './convert/status.js';
import { stepKeyFromProto, stepKeyToProto } from './convert/step-key.js';
import { PACKAGE, messageCodec } from './load-proto.js';
import type {
  ClusterStatus,
  Drain,
  Empty,
  JoinRequest,
  Lease,
  MemberRequest,
  Membership,
  PlanStep,
  PlanStepUpdate,
  TermedCommand,
  RankEvent,
  RankStatus,
  StatusRequest,
  Release,
  RenewRequest,
  Renewed,
  SettleStep,
  StepSettled,
  Scale,
} from './messages.js';
import type { Calls, Codec, Handlers, Method, MethodKind } from './method.js';

// The three control services, method by method: kind, and what the messages are in code.

const same = <T>(value: T): T => value;
const statusRequest = ({ trace = '' }: StatusRequest) => ({ trace });
const empty = (): Record<string, never> => ({});

/** Agrees steps, computes gather sizes and plans. */
export const coordinatorMethods = {
  /** First `planned`, last `committed`; a failed step throws its first cause. Ending the call cancels the step. */
  planStep: method<'server-stream', PlanStep, PlanStepUpdate>(
    'server-stream',
    'CoordinatorService/PlanStep',
    messageCodec('PlanStepRequest', planStepToProto, planStepFromProto),
    messageCodec('PlanStepResponse', planStepUpdateToProto, planStepUpdateFromProto),
  ),
  /** Whether an attempt committed; one that still runs ends. */
  settleStep: method<'unary', SettleStep, StepSettled>(
    'unary',
    'CoordinatorService/SettleStep',
    messageCodec(
      'SettleStepRequest',
      ({ step, ownerIndex }: SettleStep) => ({ step: stepKeyToProto(step), ownerIndex }),
      ({ step, ownerIndex }, path) => ({ step: stepKeyFromProto(step, `${path}.step`), ownerIndex }),
    ),
    messageCodec<StepSettled, 'SettleStepResponse'>('SettleStepResponse', same, same),
  ),
  release: method<'unary', Release, Empty>(
    'unary',
    'CoordinatorService/Release',
    messageCodec(
      'ReleaseRequest',
      ({ step }: Release) => ({ step: stepKeyToProto(step) }),
      ({ step }, path) => ({ step: stepKeyFromProto(step, `${path}.step`) }),
    ),
    messageCodec('ReleaseResponse', empty, empty),
  ),
  /** The membership now, then every change. */
  watchMembership: method<'server-stream', Empty, Membership>(
    'server-stream',
    'CoordinatorService/WatchMembership',
    messageCodec('WatchMembershipRequest', empty, empty),
    messageCodec('WatchMembershipResponse', membershipToProto, membershipFromProto),
  ),
  getStatus: method<'unary', StatusRequest, ClusterStatus>(
    'unary',
    'CoordinatorService/GetStatus',
    messageCodec<StatusRequest, 'GetStatusRequest'>('GetStatusRequest', statusRequest, statusRequest),
    messageCodec('GetStatusResponse', clusterStatusToProto, clusterStatusFromProto),
  ),
  scale: method<'unary', Scale, Empty>(
    'unary',
    'CoordinatorService/Scale',
    messageCodec<Scale, 'ScaleRequest'>('ScaleRequest', same, same),
    messageCodec('ScaleResponse', empty, empty),
  ),
  drain: method<'unary', Drain, Empty>(
    'unary',
    'CoordinatorService/Drain',
    messageCodec<Drain, 'DrainRequest'>('DrainRequest', same, same),
    messageCodec('DrainResponse', empty, empty),
  ),
};

/** Control port of one rank. */
export const rankMethods = {
  /** Opened by the coordinator, lives as long as both. Commands are handled in order. */
  steps: method<'bidi', TermedCommand, RankEvent>(
    'bidi',
    'RankService/Steps',
    messageCodec('StepsRequest', rankCommandToProto, rankCommandFromProto),
    messageCodec('StepsResponse', rankEventToProto, rankEventFromProto),
  ),
  getRankStatus: method<'unary', StatusRequest, RankStatus>(
    'unary',
    'RankService/GetRankStatus',
    messageCodec<StatusRequest, 'GetRankStatusRequest'>('GetRankStatusRequest', statusRequest, statusRequest),
    messageCodec(
      'GetRankStatusResponse',
      (status: RankStatus) => ({ status: rankStatusToProto(status) }),
      ({ status }, path) => rankStatusFromProto(status, `${path}.status`),
    ),
  ),
};

/** The embedded rendezvous: leases and the epoch. */
export const rendezvousMethods = {
  join: method<'unary', JoinRequest, Lease>(
    'unary',
    'RendezvousService/Join',
    messageCodec<JoinRequest, 'JoinRequest'>('JoinRequest', same, same),
    messageCodec<Lease, 'JoinResponse'>('JoinResponse', same, same),
  ),
  renew: method<'unary', RenewRequest, Renewed>(
    'unary',
    'RendezvousService/Renew',
    messageCodec<RenewRequest, 'RenewRequest'>('RenewRequest', same, same),
    messageCodec<Renewed, 'RenewResponse'>('RenewResponse', same, same),
  ),
  leave: method<'unary', MemberRequest, Empty>(
    'unary',
    'RendezvousService/Leave',
    messageCodec<MemberRequest, 'LeaveRequest'>('LeaveRequest', same, same),
    messageCodec('LeaveResponse', empty, empty),
  ),
  /** Ends another member's lease: for a launcher that reaped its process. */
  revoke: method<'unary', MemberRequest, Empty>(
    'unary',
    'RendezvousService/Revoke',
    messageCodec<MemberRequest, 'RevokeRequest'>('RevokeRequest', same, same),
    messageCodec('RevokeResponse', empty, empty),
  ),
};

export type CoordinatorHandlers = Handlers<typeof coordinatorMethods>;
export type RankHandlers = Handlers<typeof rankMethods>;
export type RendezvousHandlers = Handlers<typeof rendezvousMethods>;

export type CoordinatorCalls = Calls<typeof coordinatorMethods>;
export type RankCalls = Calls<typeof rankMethods>;
export type RendezvousCalls = Calls<typeof rendezvousMethods>;

function method<Kind extends MethodKind, Request, Response>(
  kind: Kind,
  path: string,
  request: Codec<Request>,
  response: Codec<Response>,
): Method<Kind, Request, Response> {
  return { kind, path: `/${PACKAGE}.${path}`, request, response };
}
