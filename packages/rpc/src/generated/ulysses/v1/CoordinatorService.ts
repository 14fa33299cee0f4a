// Original file: proto/ulysses/v1/coordinator.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { DrainRequest as _ulysses_v1_DrainRequest, DrainRequest__Output as _ulysses_v1_DrainRequest__Output } from '../../ulysses/v1/DrainRequest.js';
import type { DrainResponse as _ulysses_v1_DrainResponse, DrainResponse__Output as _ulysses_v1_DrainResponse__Output } from '../../ulysses/v1/DrainResponse.js';
import type { GetStatusRequest as _ulysses_v1_GetStatusRequest, GetStatusRequest__Output as _ulysses_v1_GetStatusRequest__Output } from '../../ulysses/v1/GetStatusRequest.js';
import type { GetStatusResponse as _ulysses_v1_GetStatusResponse, GetStatusResponse__Output as _ulysses_v1_GetStatusResponse__Output } from '../../ulysses/v1/GetStatusResponse.js';
import type { PlanStepRequest as _ulysses_v1_PlanStepRequest, PlanStepRequest__Output as _ulysses_v1_PlanStepRequest__Output } from '../../ulysses/v1/PlanStepRequest.js';
import type { PlanStepResponse as _ulysses_v1_PlanStepResponse, PlanStepResponse__Output as _ulysses_v1_PlanStepResponse__Output } from '../../ulysses/v1/PlanStepResponse.js';
import type { ReleaseRequest as _ulysses_v1_ReleaseRequest, ReleaseRequest__Output as _ulysses_v1_ReleaseRequest__Output } from '../../ulysses/v1/ReleaseRequest.js';
import type { ReleaseResponse as _ulysses_v1_ReleaseResponse, ReleaseResponse__Output as _ulysses_v1_ReleaseResponse__Output } from '../../ulysses/v1/ReleaseResponse.js';
import type { ScaleRequest as _ulysses_v1_ScaleRequest, ScaleRequest__Output as _ulysses_v1_ScaleRequest__Output } from '../../ulysses/v1/ScaleRequest.js';
import type { ScaleResponse as _ulysses_v1_ScaleResponse, ScaleResponse__Output as _ulysses_v1_ScaleResponse__Output } from '../../ulysses/v1/ScaleResponse.js';
import type { SettleStepRequest as _ulysses_v1_SettleStepRequest, SettleStepRequest__Output as _ulysses_v1_SettleStepRequest__Output } from '../../ulysses/v1/SettleStepRequest.js';
import type { SettleStepResponse as _ulysses_v1_SettleStepResponse, SettleStepResponse__Output as _ulysses_v1_SettleStepResponse__Output } from '../../ulysses/v1/SettleStepResponse.js';
import type { WatchMembershipRequest as _ulysses_v1_WatchMembershipRequest, WatchMembershipRequest__Output as _ulysses_v1_WatchMembershipRequest__Output } from '../../ulysses/v1/WatchMembershipRequest.js';
import type { WatchMembershipResponse as _ulysses_v1_WatchMembershipResponse, WatchMembershipResponse__Output as _ulysses_v1_WatchMembershipResponse__Output } from '../../ulysses/v1/WatchMembershipResponse.js';

/**
 * Agrees steps, computes gather sizes and plans.
 */
export interface CoordinatorServiceClient extends grpc.Client {
  /**
   * Has one rank leave. Answers when it has: running steps were finished first, up to the coordinator's drain time.
   */
  Drain(argument: _ulysses_v1_DrainRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_DrainResponse__Output>): grpc.ClientUnaryCall;
  Drain(argument: _ulysses_v1_DrainRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_DrainResponse__Output>): grpc.ClientUnaryCall;
  Drain(argument: _ulysses_v1_DrainRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_DrainResponse__Output>): grpc.ClientUnaryCall;
  Drain(argument: _ulysses_v1_DrainRequest, callback: grpc.requestCallback<_ulysses_v1_DrainResponse__Output>): grpc.ClientUnaryCall;
  /**
   * Has one rank leave. Answers when it has: running steps were finished first, up to the coordinator's drain time.
   */
  drain(argument: _ulysses_v1_DrainRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_DrainResponse__Output>): grpc.ClientUnaryCall;
  drain(argument: _ulysses_v1_DrainRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_DrainResponse__Output>): grpc.ClientUnaryCall;
  drain(argument: _ulysses_v1_DrainRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_DrainResponse__Output>): grpc.ClientUnaryCall;
  drain(argument: _ulysses_v1_DrainRequest, callback: grpc.requestCallback<_ulysses_v1_DrainResponse__Output>): grpc.ClientUnaryCall;
  
  GetStatus(argument: _ulysses_v1_GetStatusRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  GetStatus(argument: _ulysses_v1_GetStatusRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  GetStatus(argument: _ulysses_v1_GetStatusRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  GetStatus(argument: _ulysses_v1_GetStatusRequest, callback: grpc.requestCallback<_ulysses_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  getStatus(argument: _ulysses_v1_GetStatusRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  getStatus(argument: _ulysses_v1_GetStatusRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  getStatus(argument: _ulysses_v1_GetStatusRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  getStatus(argument: _ulysses_v1_GetStatusRequest, callback: grpc.requestCallback<_ulysses_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  
  /**
   * One sequence owner's part in one step. The call lives as long as the step: `planned` when every owner and every
   * rank said yes, then `committed` when every row is placed everywhere. A failed step ends the call with its first cause.
   * Ending the call early cancels the step for everyone.
   */
  PlanStep(argument: _ulysses_v1_PlanStepRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_ulysses_v1_PlanStepResponse__Output>;
  PlanStep(argument: _ulysses_v1_PlanStepRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_ulysses_v1_PlanStepResponse__Output>;
  /**
   * One sequence owner's part in one step. The call lives as long as the step: `planned` when every owner and every
   * rank said yes, then `committed` when every row is placed everywhere. A failed step ends the call with its first cause.
   * Ending the call early cancels the step for everyone.
   */
  planStep(argument: _ulysses_v1_PlanStepRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_ulysses_v1_PlanStepResponse__Output>;
  planStep(argument: _ulysses_v1_PlanStepRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_ulysses_v1_PlanStepResponse__Output>;
  
  /**
   * Frees what a forward kept on the ranks; freeing twice is fine.
   */
  Release(argument: _ulysses_v1_ReleaseRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_ReleaseResponse__Output>): grpc.ClientUnaryCall;
  Release(argument: _ulysses_v1_ReleaseRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_ReleaseResponse__Output>): grpc.ClientUnaryCall;
  Release(argument: _ulysses_v1_ReleaseRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_ReleaseResponse__Output>): grpc.ClientUnaryCall;
  Release(argument: _ulysses_v1_ReleaseRequest, callback: grpc.requestCallback<_ulysses_v1_ReleaseResponse__Output>): grpc.ClientUnaryCall;
  /**
   * Frees what a forward kept on the ranks; freeing twice is fine.
   */
  release(argument: _ulysses_v1_ReleaseRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_ReleaseResponse__Output>): grpc.ClientUnaryCall;
  release(argument: _ulysses_v1_ReleaseRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_ReleaseResponse__Output>): grpc.ClientUnaryCall;
  release(argument: _ulysses_v1_ReleaseRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_ReleaseResponse__Output>): grpc.ClientUnaryCall;
  release(argument: _ulysses_v1_ReleaseRequest, callback: grpc.requestCallback<_ulysses_v1_ReleaseResponse__Output>): grpc.ClientUnaryCall;
  
  /**
   * Changes how many ranks the cluster has. Answers when the new size is set; the next epoch begins when it is complete.
   */
  Scale(argument: _ulysses_v1_ScaleRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_ScaleResponse__Output>): grpc.ClientUnaryCall;
  Scale(argument: _ulysses_v1_ScaleRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_ScaleResponse__Output>): grpc.ClientUnaryCall;
  Scale(argument: _ulysses_v1_ScaleRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_ScaleResponse__Output>): grpc.ClientUnaryCall;
  Scale(argument: _ulysses_v1_ScaleRequest, callback: grpc.requestCallback<_ulysses_v1_ScaleResponse__Output>): grpc.ClientUnaryCall;
  /**
   * Changes how many ranks the cluster has. Answers when the new size is set; the next epoch begins when it is complete.
   */
  scale(argument: _ulysses_v1_ScaleRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_ScaleResponse__Output>): grpc.ClientUnaryCall;
  scale(argument: _ulysses_v1_ScaleRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_ScaleResponse__Output>): grpc.ClientUnaryCall;
  scale(argument: _ulysses_v1_ScaleRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_ScaleResponse__Output>): grpc.ClientUnaryCall;
  scale(argument: _ulysses_v1_ScaleRequest, callback: grpc.requestCallback<_ulysses_v1_ScaleResponse__Output>): grpc.ClientUnaryCall;
  
  /**
   * How an attempt at a step ended, for an owner whose PlanStep call broke. One that still runs ends here, for everyone: the
   * owner has left it, so it must not commit after all.
   */
  SettleStep(argument: _ulysses_v1_SettleStepRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_SettleStepResponse__Output>): grpc.ClientUnaryCall;
  SettleStep(argument: _ulysses_v1_SettleStepRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_SettleStepResponse__Output>): grpc.ClientUnaryCall;
  SettleStep(argument: _ulysses_v1_SettleStepRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_SettleStepResponse__Output>): grpc.ClientUnaryCall;
  SettleStep(argument: _ulysses_v1_SettleStepRequest, callback: grpc.requestCallback<_ulysses_v1_SettleStepResponse__Output>): grpc.ClientUnaryCall;
  /**
   * How an attempt at a step ended, for an owner whose PlanStep call broke. One that still runs ends here, for everyone: the
   * owner has left it, so it must not commit after all.
   */
  settleStep(argument: _ulysses_v1_SettleStepRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_SettleStepResponse__Output>): grpc.ClientUnaryCall;
  settleStep(argument: _ulysses_v1_SettleStepRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_SettleStepResponse__Output>): grpc.ClientUnaryCall;
  settleStep(argument: _ulysses_v1_SettleStepRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_SettleStepResponse__Output>): grpc.ClientUnaryCall;
  settleStep(argument: _ulysses_v1_SettleStepRequest, callback: grpc.requestCallback<_ulysses_v1_SettleStepResponse__Output>): grpc.ClientUnaryCall;
  
  /**
   * The membership now, then every change.
   */
  WatchMembership(argument: _ulysses_v1_WatchMembershipRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_ulysses_v1_WatchMembershipResponse__Output>;
  WatchMembership(argument: _ulysses_v1_WatchMembershipRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_ulysses_v1_WatchMembershipResponse__Output>;
  /**
   * The membership now, then every change.
   */
  watchMembership(argument: _ulysses_v1_WatchMembershipRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_ulysses_v1_WatchMembershipResponse__Output>;
  watchMembership(argument: _ulysses_v1_WatchMembershipRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_ulysses_v1_WatchMembershipResponse__Output>;
  
}

/**
 * Agrees steps, computes gather sizes and plans.
 */
export interface CoordinatorServiceHandlers extends grpc.UntypedServiceImplementation {
  /**
   * Has one rank leave. Answers when it has: running steps were finished first, up to the coordinator's drain time.
   */
  Drain: grpc.handleUnaryCall<_ulysses_v1_DrainRequest__Output, _ulysses_v1_DrainResponse>;
  
  GetStatus: grpc.handleUnaryCall<_ulysses_v1_GetStatusRequest__Output, _ulysses_v1_GetStatusResponse>;
  
  /**
   * One sequence owner's part in one step. The call lives as long as the step: `planned` when every owner and every
   * rank said yes, then `committed` when every row is placed everywhere. A failed step ends the call with its first cause.
   * Ending the call early cancels the step for everyone.
   */
  PlanStep: grpc.handleServerStreamingCall<_ulysses_v1_PlanStepRequest__Output, _ulysses_v1_PlanStepResponse>;
  
  /**
   * Frees what a forward kept on the ranks; freeing twice is fine.
   */
  Release: grpc.handleUnaryCall<_ulysses_v1_ReleaseRequest__Output, _ulysses_v1_ReleaseResponse>;
  
  /**
   * Changes how many ranks the cluster has. Answers when the new size is set; the next epoch begins when it is complete.
   */
  Scale: grpc.handleUnaryCall<_ulysses_v1_ScaleRequest__Output, _ulysses_v1_ScaleResponse>;
  
  /**
   * How an attempt at a step ended, for an owner whose PlanStep call broke. One that still runs ends here, for everyone: the
   * owner has left it, so it must not commit after all.
   */
  SettleStep: grpc.handleUnaryCall<_ulysses_v1_SettleStepRequest__Output, _ulysses_v1_SettleStepResponse>;
  
  /**
   * The membership now, then every change.
   */
  WatchMembership: grpc.handleServerStreamingCall<_ulysses_v1_WatchMembershipRequest__Output, _ulysses_v1_WatchMembershipResponse>;
  
}

export interface CoordinatorServiceDefinition extends grpc.ServiceDefinition {
  Drain: MethodDefinition<_ulysses_v1_DrainRequest, _ulysses_v1_DrainResponse, _ulysses_v1_DrainRequest__Output, _ulysses_v1_DrainResponse__Output>
  GetStatus: MethodDefinition<_ulysses_v1_GetStatusRequest, _ulysses_v1_GetStatusResponse, _ulysses_v1_GetStatusRequest__Output, _ulysses_v1_GetStatusResponse__Output>
  PlanStep: MethodDefinition<_ulysses_v1_PlanStepRequest, _ulysses_v1_PlanStepResponse, _ulysses_v1_PlanStepRequest__Output, _ulysses_v1_PlanStepResponse__Output>
  Release: MethodDefinition<_ulysses_v1_ReleaseRequest, _ulysses_v1_ReleaseResponse, _ulysses_v1_ReleaseRequest__Output, _ulysses_v1_ReleaseResponse__Output>
  Scale: MethodDefinition<_ulysses_v1_ScaleRequest, _ulysses_v1_ScaleResponse, _ulysses_v1_ScaleRequest__Output, _ulysses_v1_ScaleResponse__Output>
  SettleStep: MethodDefinition<_ulysses_v1_SettleStepRequest, _ulysses_v1_SettleStepResponse, _ulysses_v1_SettleStepRequest__Output, _ulysses_v1_SettleStepResponse__Output>
  WatchMembership: MethodDefinition<_ulysses_v1_WatchMembershipRequest, _ulysses_v1_WatchMembershipResponse, _ulysses_v1_WatchMembershipRequest__Output, _ulysses_v1_WatchMembershipResponse__Output>
}
