// Original file: proto/ulysses/v1/rendezvous.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { JoinRequest as _ulysses_v1_JoinRequest, JoinRequest__Output as _ulysses_v1_JoinRequest__Output } from '../../ulysses/v1/JoinRequest.js';
import type { JoinResponse as _ulysses_v1_JoinResponse, JoinResponse__Output as _ulysses_v1_JoinResponse__Output } from '../../ulysses/v1/JoinResponse.js';
import type { LeaveRequest as _ulysses_v1_LeaveRequest, LeaveRequest__Output as _ulysses_v1_LeaveRequest__Output } from '../../ulysses/v1/LeaveRequest.js';
import type { LeaveResponse as _ulysses_v1_LeaveResponse, LeaveResponse__Output as _ulysses_v1_LeaveResponse__Output } from '../../ulysses/v1/LeaveResponse.js';
import type { RenewRequest as _ulysses_v1_RenewRequest, RenewRequest__Output as _ulysses_v1_RenewRequest__Output } from '../../ulysses/v1/RenewRequest.js';
import type { RenewResponse as _ulysses_v1_RenewResponse, RenewResponse__Output as _ulysses_v1_RenewResponse__Output } from '../../ulysses/v1/RenewResponse.js';
import type { RevokeRequest as _ulysses_v1_RevokeRequest, RevokeRequest__Output as _ulysses_v1_RevokeRequest__Output } from '../../ulysses/v1/RevokeRequest.js';
import type { RevokeResponse as _ulysses_v1_RevokeResponse, RevokeResponse__Output as _ulysses_v1_RevokeResponse__Output } from '../../ulysses/v1/RevokeResponse.js';

/**
 * The embedded rendezvous: leases and the epoch, kept by the coordinator so that one machine needs no Redis.
 */
export interface RendezvousServiceClient extends grpc.Client {
  /**
   * Claims the lowest free rank.
   */
  Join(argument: _ulysses_v1_JoinRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_JoinResponse__Output>): grpc.ClientUnaryCall;
  Join(argument: _ulysses_v1_JoinRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_JoinResponse__Output>): grpc.ClientUnaryCall;
  Join(argument: _ulysses_v1_JoinRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_JoinResponse__Output>): grpc.ClientUnaryCall;
  Join(argument: _ulysses_v1_JoinRequest, callback: grpc.requestCallback<_ulysses_v1_JoinResponse__Output>): grpc.ClientUnaryCall;
  /**
   * Claims the lowest free rank.
   */
  join(argument: _ulysses_v1_JoinRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_JoinResponse__Output>): grpc.ClientUnaryCall;
  join(argument: _ulysses_v1_JoinRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_JoinResponse__Output>): grpc.ClientUnaryCall;
  join(argument: _ulysses_v1_JoinRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_JoinResponse__Output>): grpc.ClientUnaryCall;
  join(argument: _ulysses_v1_JoinRequest, callback: grpc.requestCallback<_ulysses_v1_JoinResponse__Output>): grpc.ClientUnaryCall;
  
  Leave(argument: _ulysses_v1_LeaveRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_LeaveResponse__Output>): grpc.ClientUnaryCall;
  Leave(argument: _ulysses_v1_LeaveRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_LeaveResponse__Output>): grpc.ClientUnaryCall;
  Leave(argument: _ulysses_v1_LeaveRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_LeaveResponse__Output>): grpc.ClientUnaryCall;
  Leave(argument: _ulysses_v1_LeaveRequest, callback: grpc.requestCallback<_ulysses_v1_LeaveResponse__Output>): grpc.ClientUnaryCall;
  leave(argument: _ulysses_v1_LeaveRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_LeaveResponse__Output>): grpc.ClientUnaryCall;
  leave(argument: _ulysses_v1_LeaveRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_LeaveResponse__Output>): grpc.ClientUnaryCall;
  leave(argument: _ulysses_v1_LeaveRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_LeaveResponse__Output>): grpc.ClientUnaryCall;
  leave(argument: _ulysses_v1_LeaveRequest, callback: grpc.requestCallback<_ulysses_v1_LeaveResponse__Output>): grpc.ClientUnaryCall;
  
  Renew(argument: _ulysses_v1_RenewRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_RenewResponse__Output>): grpc.ClientUnaryCall;
  Renew(argument: _ulysses_v1_RenewRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_RenewResponse__Output>): grpc.ClientUnaryCall;
  Renew(argument: _ulysses_v1_RenewRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_RenewResponse__Output>): grpc.ClientUnaryCall;
  Renew(argument: _ulysses_v1_RenewRequest, callback: grpc.requestCallback<_ulysses_v1_RenewResponse__Output>): grpc.ClientUnaryCall;
  renew(argument: _ulysses_v1_RenewRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_RenewResponse__Output>): grpc.ClientUnaryCall;
  renew(argument: _ulysses_v1_RenewRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_RenewResponse__Output>): grpc.ClientUnaryCall;
  renew(argument: _ulysses_v1_RenewRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_RenewResponse__Output>): grpc.ClientUnaryCall;
  renew(argument: _ulysses_v1_RenewRequest, callback: grpc.requestCallback<_ulysses_v1_RenewResponse__Output>): grpc.ClientUnaryCall;
  
  /**
   * Ends another member's lease: for a launcher that reaped its process.
   */
  Revoke(argument: _ulysses_v1_RevokeRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_RevokeResponse__Output>): grpc.ClientUnaryCall;
  Revoke(argument: _ulysses_v1_RevokeRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_RevokeResponse__Output>): grpc.ClientUnaryCall;
  Revoke(argument: _ulysses_v1_RevokeRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_RevokeResponse__Output>): grpc.ClientUnaryCall;
  Revoke(argument: _ulysses_v1_RevokeRequest, callback: grpc.requestCallback<_ulysses_v1_RevokeResponse__Output>): grpc.ClientUnaryCall;
  /**
   * Ends another member's lease: for a launcher that reaped its process.
   */
  revoke(argument: _ulysses_v1_RevokeRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_RevokeResponse__Output>): grpc.ClientUnaryCall;
  revoke(argument: _ulysses_v1_RevokeRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_RevokeResponse__Output>): grpc.ClientUnaryCall;
  revoke(argument: _ulysses_v1_RevokeRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_RevokeResponse__Output>): grpc.ClientUnaryCall;
  revoke(argument: _ulysses_v1_RevokeRequest, callback: grpc.requestCallback<_ulysses_v1_RevokeResponse__Output>): grpc.ClientUnaryCall;
  
}

/**
 * The embedded rendezvous: leases and the epoch, kept by the coordinator so that one machine needs no Redis.
 */
export interface RendezvousServiceHandlers extends grpc.UntypedServiceImplementation {
  /**
   * Claims the lowest free rank.
   */
  Join: grpc.handleUnaryCall<_ulysses_v1_JoinRequest__Output, _ulysses_v1_JoinResponse>;
  
  Leave: grpc.handleUnaryCall<_ulysses_v1_LeaveRequest__Output, _ulysses_v1_LeaveResponse>;
  
  Renew: grpc.handleUnaryCall<_ulysses_v1_RenewRequest__Output, _ulysses_v1_RenewResponse>;
  
  /**
   * Ends another member's lease: for a launcher that reaped its process.
   */
  Revoke: grpc.handleUnaryCall<_ulysses_v1_RevokeRequest__Output, _ulysses_v1_RevokeResponse>;
  
}

export interface RendezvousServiceDefinition extends grpc.ServiceDefinition {
  Join: MethodDefinition<_ulysses_v1_JoinRequest, _ulysses_v1_JoinResponse, _ulysses_v1_JoinRequest__Output, _ulysses_v1_JoinResponse__Output>
  Leave: MethodDefinition<_ulysses_v1_LeaveRequest, _ulysses_v1_LeaveResponse, _ulysses_v1_LeaveRequest__Output, _ulysses_v1_LeaveResponse__Output>
  Renew: MethodDefinition<_ulysses_v1_RenewRequest, _ulysses_v1_RenewResponse, _ulysses_v1_RenewRequest__Output, _ulysses_v1_RenewResponse__Output>
  Revoke: MethodDefinition<_ulysses_v1_RevokeRequest, _ulysses_v1_RevokeResponse, _ulysses_v1_RevokeRequest__Output, _ulysses_v1_RevokeResponse__Output>
}
