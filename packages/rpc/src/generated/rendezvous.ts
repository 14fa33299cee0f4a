import type * as grpc from '@grpc/grpc-js';
import type { MessageTypeDefinition } from '@grpc/proto-loader';

import type { JoinRequest as _ulysses_v1_JoinRequest, JoinRequest__Output as _ulysses_v1_JoinRequest__Output } from './ulysses/v1/JoinRequest.js';
import type { JoinResponse as _ulysses_v1_JoinResponse, JoinResponse__Output as _ulysses_v1_JoinResponse__Output } from './ulysses/v1/JoinResponse.js';
import type { LeaveRequest as _ulysses_v1_LeaveRequest, LeaveRequest__Output as _ulysses_v1_LeaveRequest__Output } from './ulysses/v1/LeaveRequest.js';
import type { LeaveResponse as _ulysses_v1_LeaveResponse, LeaveResponse__Output as _ulysses_v1_LeaveResponse__Output } from './ulysses/v1/LeaveResponse.js';
import type { RendezvousServiceClient as _ulysses_v1_RendezvousServiceClient, RendezvousServiceDefinition as _ulysses_v1_RendezvousServiceDefinition } from './ulysses/v1/RendezvousService.js';
import type { RenewRequest as _ulysses_v1_RenewRequest, RenewRequest__Output as _ulysses_v1_RenewRequest__Output } from './ulysses/v1/RenewRequest.js';
import type { RenewResponse as _ulysses_v1_RenewResponse, RenewResponse__Output as _ulysses_v1_RenewResponse__Output } from './ulysses/v1/RenewResponse.js';
import type { RevokeRequest as _ulysses_v1_RevokeRequest, RevokeRequest__Output as _ulysses_v1_RevokeRequest__Output } from './ulysses/v1/RevokeRequest.js';
import type { RevokeResponse as _ulysses_v1_RevokeResponse, RevokeResponse__Output as _ulysses_v1_RevokeResponse__Output } from './ulysses/v1/RevokeResponse.js';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  ulysses: {
    v1: {
      JoinRequest: MessageTypeDefinition<_ulysses_v1_JoinRequest, _ulysses_v1_JoinRequest__Output>
      JoinResponse: MessageTypeDefinition<_ulysses_v1_JoinResponse, _ulysses_v1_JoinResponse__Output>
      LeaveRequest: MessageTypeDefinition<_ulysses_v1_LeaveRequest, _ulysses_v1_LeaveRequest__Output>
      LeaveResponse: MessageTypeDefinition<_ulysses_v1_LeaveResponse, _ulysses_v1_LeaveResponse__Output>
      /**
       * The embedded rendezvous: leases and the epoch, kept by the coordinator so that one machine needs no Redis.
       */
      RendezvousService: SubtypeConstructor<typeof grpc.Client, _ulysses_v1_RendezvousServiceClient> & { service: _ulysses_v1_RendezvousServiceDefinition }
      RenewRequest: MessageTypeDefinition<_ulysses_v1_RenewRequest, _ulysses_v1_RenewRequest__Output>
      RenewResponse: MessageTypeDefinition<_ulysses_v1_RenewResponse, _ulysses_v1_RenewResponse__Output>
      RevokeRequest: MessageTypeDefinition<_ulysses_v1_RevokeRequest, _ulysses_v1_RevokeRequest__Output>
      RevokeResponse: MessageTypeDefinition<_ulysses_v1_RevokeResponse, _ulysses_v1_RevokeResponse__Output>
    }
  }
}

