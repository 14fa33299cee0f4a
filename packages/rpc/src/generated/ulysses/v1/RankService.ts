// Original file: proto/ulysses/v1/rank.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { GetRankStatusRequest as _ulysses_v1_GetRankStatusRequest, GetRankStatusRequest__Output as _ulysses_v1_GetRankStatusRequest__Output } from '../../ulysses/v1/GetRankStatusRequest.js';
import type { GetRankStatusResponse as _ulysses_v1_GetRankStatusResponse, GetRankStatusResponse__Output as _ulysses_v1_GetRankStatusResponse__Output } from '../../ulysses/v1/GetRankStatusResponse.js';
import type { StepsRequest as _ulysses_v1_StepsRequest, StepsRequest__Output as _ulysses_v1_StepsRequest__Output } from '../../ulysses/v1/StepsRequest.js';
import type { StepsResponse as _ulysses_v1_StepsResponse, StepsResponse__Output as _ulysses_v1_StepsResponse__Output } from '../../ulysses/v1/StepsResponse.js';

/**
 * Control port of one rank. Tensors travel on its TensorPlaneService.
 */
export interface RankServiceClient extends grpc.Client {
  GetRankStatus(argument: _ulysses_v1_GetRankStatusRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_GetRankStatusResponse__Output>): grpc.ClientUnaryCall;
  GetRankStatus(argument: _ulysses_v1_GetRankStatusRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_GetRankStatusResponse__Output>): grpc.ClientUnaryCall;
  GetRankStatus(argument: _ulysses_v1_GetRankStatusRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_GetRankStatusResponse__Output>): grpc.ClientUnaryCall;
  GetRankStatus(argument: _ulysses_v1_GetRankStatusRequest, callback: grpc.requestCallback<_ulysses_v1_GetRankStatusResponse__Output>): grpc.ClientUnaryCall;
  getRankStatus(argument: _ulysses_v1_GetRankStatusRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_GetRankStatusResponse__Output>): grpc.ClientUnaryCall;
  getRankStatus(argument: _ulysses_v1_GetRankStatusRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_ulysses_v1_GetRankStatusResponse__Output>): grpc.ClientUnaryCall;
  getRankStatus(argument: _ulysses_v1_GetRankStatusRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_ulysses_v1_GetRankStatusResponse__Output>): grpc.ClientUnaryCall;
  getRankStatus(argument: _ulysses_v1_GetRankStatusRequest, callback: grpc.requestCallback<_ulysses_v1_GetRankStatusResponse__Output>): grpc.ClientUnaryCall;
  
  /**
   * Opened by the coordinator, lives as long as both. Commands are handled in order.
   */
  Steps(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_ulysses_v1_StepsRequest, _ulysses_v1_StepsResponse__Output>;
  Steps(options?: grpc.CallOptions): grpc.ClientDuplexStream<_ulysses_v1_StepsRequest, _ulysses_v1_StepsResponse__Output>;
  /**
   * Opened by the coordinator, lives as long as both. Commands are handled in order.
   */
  steps(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_ulysses_v1_StepsRequest, _ulysses_v1_StepsResponse__Output>;
  steps(options?: grpc.CallOptions): grpc.ClientDuplexStream<_ulysses_v1_StepsRequest, _ulysses_v1_StepsResponse__Output>;
  
}

/**
 * Control port of one rank. Tensors travel on its TensorPlaneService.
 */
export interface RankServiceHandlers extends grpc.UntypedServiceImplementation {
  GetRankStatus: grpc.handleUnaryCall<_ulysses_v1_GetRankStatusRequest__Output, _ulysses_v1_GetRankStatusResponse>;
  
  /**
   * Opened by the coordinator, lives as long as both. Commands are handled in order.
   */
  Steps: grpc.handleBidiStreamingCall<_ulysses_v1_StepsRequest__Output, _ulysses_v1_StepsResponse>;
  
}

export interface RankServiceDefinition extends grpc.ServiceDefinition {
  GetRankStatus: MethodDefinition<_ulysses_v1_GetRankStatusRequest, _ulysses_v1_GetRankStatusResponse, _ulysses_v1_GetRankStatusRequest__Output, _ulysses_v1_GetRankStatusResponse__Output>
  Steps: MethodDefinition<_ulysses_v1_StepsRequest, _ulysses_v1_StepsResponse, _ulysses_v1_StepsRequest__Output, _ulysses_v1_StepsResponse__Output>
}
