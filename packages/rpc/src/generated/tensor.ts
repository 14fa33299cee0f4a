import type * as grpc from '@grpc/grpc-js';
import type { EnumTypeDefinition, MessageTypeDefinition } from '@grpc/proto-loader';

import type { Error as _ulysses_v1_Error, Error__Output as _ulysses_v1_Error__Output } from './ulysses/v1/Error.js';
import type { Party as _ulysses_v1_Party, Party__Output as _ulysses_v1_Party__Output } from './ulysses/v1/Party.js';
import type { StepKey as _ulysses_v1_StepKey, StepKey__Output as _ulysses_v1_StepKey__Output } from './ulysses/v1/StepKey.js';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  ulysses: {
    v1: {
      DType: EnumTypeDefinition
      Error: MessageTypeDefinition<_ulysses_v1_Error, _ulysses_v1_Error__Output>
      Layout: EnumTypeDefinition
      Party: MessageTypeDefinition<_ulysses_v1_Party, _ulysses_v1_Party__Output>
      Pass: EnumTypeDefinition
      Role: EnumTypeDefinition
      StepKey: MessageTypeDefinition<_ulysses_v1_StepKey, _ulysses_v1_StepKey__Output>
      Tensor: EnumTypeDefinition
    }
  }
}

