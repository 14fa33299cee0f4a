import type * as grpc from '@grpc/grpc-js';
import type { EnumTypeDefinition, MessageTypeDefinition } from '@grpc/proto-loader';

import type { Error as _ulysses_v1_Error, Error__Output as _ulysses_v1_Error__Output } from './ulysses/v1/Error.js';
import type { ExchangePlan as _ulysses_v1_ExchangePlan, ExchangePlan__Output as _ulysses_v1_ExchangePlan__Output } from './ulysses/v1/ExchangePlan.js';
import type { ExchangeSpec as _ulysses_v1_ExchangeSpec, ExchangeSpec__Output as _ulysses_v1_ExchangeSpec__Output } from './ulysses/v1/ExchangeSpec.js';
import type { Mask as _ulysses_v1_Mask, Mask__Output as _ulysses_v1_Mask__Output } from './ulysses/v1/Mask.js';
import type { Party as _ulysses_v1_Party, Party__Output as _ulysses_v1_Party__Output } from './ulysses/v1/Party.js';
import type { Plan as _ulysses_v1_Plan, Plan__Output as _ulysses_v1_Plan__Output } from './ulysses/v1/Plan.js';
import type { RowRange as _ulysses_v1_RowRange, RowRange__Output as _ulysses_v1_RowRange__Output } from './ulysses/v1/RowRange.js';
import type { StepKey as _ulysses_v1_StepKey, StepKey__Output as _ulysses_v1_StepKey__Output } from './ulysses/v1/StepKey.js';
import type { StepSpec as _ulysses_v1_StepSpec, StepSpec__Output as _ulysses_v1_StepSpec__Output } from './ulysses/v1/StepSpec.js';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  ulysses: {
    v1: {
      DType: EnumTypeDefinition
      Error: MessageTypeDefinition<_ulysses_v1_Error, _ulysses_v1_Error__Output>
      ExchangePlan: MessageTypeDefinition<_ulysses_v1_ExchangePlan, _ulysses_v1_ExchangePlan__Output>
      ExchangeSpec: MessageTypeDefinition<_ulysses_v1_ExchangeSpec, _ulysses_v1_ExchangeSpec__Output>
      Layout: EnumTypeDefinition
      Mask: MessageTypeDefinition<_ulysses_v1_Mask, _ulysses_v1_Mask__Output>
      Party: MessageTypeDefinition<_ulysses_v1_Party, _ulysses_v1_Party__Output>
      Pass: EnumTypeDefinition
      Plan: MessageTypeDefinition<_ulysses_v1_Plan, _ulysses_v1_Plan__Output>
      Role: EnumTypeDefinition
      RowRange: MessageTypeDefinition<_ulysses_v1_RowRange, _ulysses_v1_RowRange__Output>
      StepKey: MessageTypeDefinition<_ulysses_v1_StepKey, _ulysses_v1_StepKey__Output>
      StepSpec: MessageTypeDefinition<_ulysses_v1_StepSpec, _ulysses_v1_StepSpec__Output>
      Strategy: EnumTypeDefinition
      Tensor: EnumTypeDefinition
    }
  }
}

