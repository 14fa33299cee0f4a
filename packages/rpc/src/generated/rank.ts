import type * as grpc from '@grpc/grpc-js';
import type { EnumTypeDefinition, MessageTypeDefinition } from '@grpc/proto-loader';

import type { Abort as _ulysses_v1_Abort, Abort__Output as _ulysses_v1_Abort__Output } from './ulysses/v1/Abort.js';
import type { Commit as _ulysses_v1_Commit, Commit__Output as _ulysses_v1_Commit__Output } from './ulysses/v1/Commit.js';
import type { Committed as _ulysses_v1_Committed, Committed__Output as _ulysses_v1_Committed__Output } from './ulysses/v1/Committed.js';
import type { CoordinatorServiceClient as _ulysses_v1_CoordinatorServiceClient, CoordinatorServiceDefinition as _ulysses_v1_CoordinatorServiceDefinition } from './ulysses/v1/CoordinatorService.js';
import type { DrainRequest as _ulysses_v1_DrainRequest, DrainRequest__Output as _ulysses_v1_DrainRequest__Output } from './ulysses/v1/DrainRequest.js';
import type { DrainResponse as _ulysses_v1_DrainResponse, DrainResponse__Output as _ulysses_v1_DrainResponse__Output } from './ulysses/v1/DrainResponse.js';
import type { EnterEpoch as _ulysses_v1_EnterEpoch, EnterEpoch__Output as _ulysses_v1_EnterEpoch__Output } from './ulysses/v1/EnterEpoch.js';
import type { Error as _ulysses_v1_Error, Error__Output as _ulysses_v1_Error__Output } from './ulysses/v1/Error.js';
import type { ExchangePlan as _ulysses_v1_ExchangePlan, ExchangePlan__Output as _ulysses_v1_ExchangePlan__Output } from './ulysses/v1/ExchangePlan.js';
import type { ExchangeSpec as _ulysses_v1_ExchangeSpec, ExchangeSpec__Output as _ulysses_v1_ExchangeSpec__Output } from './ulysses/v1/ExchangeSpec.js';
import type { ExchangeView as _ulysses_v1_ExchangeView, ExchangeView__Output as _ulysses_v1_ExchangeView__Output } from './ulysses/v1/ExchangeView.js';
import type { Failed as _ulysses_v1_Failed, Failed__Output as _ulysses_v1_Failed__Output } from './ulysses/v1/Failed.js';
import type { Finished as _ulysses_v1_Finished, Finished__Output as _ulysses_v1_Finished__Output } from './ulysses/v1/Finished.js';
import type { GetRankStatusRequest as _ulysses_v1_GetRankStatusRequest, GetRankStatusRequest__Output as _ulysses_v1_GetRankStatusRequest__Output } from './ulysses/v1/GetRankStatusRequest.js';
import type { GetRankStatusResponse as _ulysses_v1_GetRankStatusResponse, GetRankStatusResponse__Output as _ulysses_v1_GetRankStatusResponse__Output } from './ulysses/v1/GetRankStatusResponse.js';
import type { GetStatusRequest as _ulysses_v1_GetStatusRequest, GetStatusRequest__Output as _ulysses_v1_GetStatusRequest__Output } from './ulysses/v1/GetStatusRequest.js';
import type { GetStatusResponse as _ulysses_v1_GetStatusResponse, GetStatusResponse__Output as _ulysses_v1_GetStatusResponse__Output } from './ulysses/v1/GetStatusResponse.js';
import type { Leave as _ulysses_v1_Leave, Leave__Output as _ulysses_v1_Leave__Output } from './ulysses/v1/Leave.js';
import type { Leaving as _ulysses_v1_Leaving, Leaving__Output as _ulysses_v1_Leaving__Output } from './ulysses/v1/Leaving.js';
import type { Mask as _ulysses_v1_Mask, Mask__Output as _ulysses_v1_Mask__Output } from './ulysses/v1/Mask.js';
import type { Party as _ulysses_v1_Party, Party__Output as _ulysses_v1_Party__Output } from './ulysses/v1/Party.js';
import type { PeerLost as _ulysses_v1_PeerLost, PeerLost__Output as _ulysses_v1_PeerLost__Output } from './ulysses/v1/PeerLost.js';
import type { Plan as _ulysses_v1_Plan, Plan__Output as _ulysses_v1_Plan__Output } from './ulysses/v1/Plan.js';
import type { PlanStepRequest as _ulysses_v1_PlanStepRequest, PlanStepRequest__Output as _ulysses_v1_PlanStepRequest__Output } from './ulysses/v1/PlanStepRequest.js';
import type { PlanStepResponse as _ulysses_v1_PlanStepResponse, PlanStepResponse__Output as _ulysses_v1_PlanStepResponse__Output } from './ulysses/v1/PlanStepResponse.js';
import type { Planned as _ulysses_v1_Planned, Planned__Output as _ulysses_v1_Planned__Output } from './ulysses/v1/Planned.js';
import type { Prepare as _ulysses_v1_Prepare, Prepare__Output as _ulysses_v1_Prepare__Output } from './ulysses/v1/Prepare.js';
import type { RankAddress as _ulysses_v1_RankAddress, RankAddress__Output as _ulysses_v1_RankAddress__Output } from './ulysses/v1/RankAddress.js';
import type { RankServiceClient as _ulysses_v1_RankServiceClient, RankServiceDefinition as _ulysses_v1_RankServiceDefinition } from './ulysses/v1/RankService.js';
import type { RankStatus as _ulysses_v1_RankStatus, RankStatus__Output as _ulysses_v1_RankStatus__Output } from './ulysses/v1/RankStatus.js';
import type { Ready as _ulysses_v1_Ready, Ready__Output as _ulysses_v1_Ready__Output } from './ulysses/v1/Ready.js';
import type { Release as _ulysses_v1_Release, Release__Output as _ulysses_v1_Release__Output } from './ulysses/v1/Release.js';
import type { ReleaseRequest as _ulysses_v1_ReleaseRequest, ReleaseRequest__Output as _ulysses_v1_ReleaseRequest__Output } from './ulysses/v1/ReleaseRequest.js';
import type { ReleaseResponse as _ulysses_v1_ReleaseResponse, ReleaseResponse__Output as _ulysses_v1_ReleaseResponse__Output } from './ulysses/v1/ReleaseResponse.js';
import type { RowRange as _ulysses_v1_RowRange, RowRange__Output as _ulysses_v1_RowRange__Output } from './ulysses/v1/RowRange.js';
import type { ScaleRequest as _ulysses_v1_ScaleRequest, ScaleRequest__Output as _ulysses_v1_ScaleRequest__Output } from './ulysses/v1/ScaleRequest.js';
import type { ScaleResponse as _ulysses_v1_ScaleResponse, ScaleResponse__Output as _ulysses_v1_ScaleResponse__Output } from './ulysses/v1/ScaleResponse.js';
import type { SettleStepRequest as _ulysses_v1_SettleStepRequest, SettleStepRequest__Output as _ulysses_v1_SettleStepRequest__Output } from './ulysses/v1/SettleStepRequest.js';
import type { SettleStepResponse as _ulysses_v1_SettleStepResponse, SettleStepResponse__Output as _ulysses_v1_SettleStepResponse__Output } from './ulysses/v1/SettleStepResponse.js';
import type { StepKey as _ulysses_v1_StepKey, StepKey__Output as _ulysses_v1_StepKey__Output } from './ulysses/v1/StepKey.js';
import type { StepSpec as _ulysses_v1_StepSpec, StepSpec__Output as _ulysses_v1_StepSpec__Output } from './ulysses/v1/StepSpec.js';
import type { StepTrace as _ulysses_v1_StepTrace, StepTrace__Output as _ulysses_v1_StepTrace__Output } from './ulysses/v1/StepTrace.js';
import type { StepView as _ulysses_v1_StepView, StepView__Output as _ulysses_v1_StepView__Output } from './ulysses/v1/StepView.js';
import type { StepsRequest as _ulysses_v1_StepsRequest, StepsRequest__Output as _ulysses_v1_StepsRequest__Output } from './ulysses/v1/StepsRequest.js';
import type { StepsResponse as _ulysses_v1_StepsResponse, StepsResponse__Output as _ulysses_v1_StepsResponse__Output } from './ulysses/v1/StepsResponse.js';
import type { TraceSpan as _ulysses_v1_TraceSpan, TraceSpan__Output as _ulysses_v1_TraceSpan__Output } from './ulysses/v1/TraceSpan.js';
import type { Vote as _ulysses_v1_Vote, Vote__Output as _ulysses_v1_Vote__Output } from './ulysses/v1/Vote.js';
import type { WatchMembershipRequest as _ulysses_v1_WatchMembershipRequest, WatchMembershipRequest__Output as _ulysses_v1_WatchMembershipRequest__Output } from './ulysses/v1/WatchMembershipRequest.js';
import type { WatchMembershipResponse as _ulysses_v1_WatchMembershipResponse, WatchMembershipResponse__Output as _ulysses_v1_WatchMembershipResponse__Output } from './ulysses/v1/WatchMembershipResponse.js';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  ulysses: {
    v1: {
      Abort: MessageTypeDefinition<_ulysses_v1_Abort, _ulysses_v1_Abort__Output>
      Commit: MessageTypeDefinition<_ulysses_v1_Commit, _ulysses_v1_Commit__Output>
      Committed: MessageTypeDefinition<_ulysses_v1_Committed, _ulysses_v1_Committed__Output>
      /**
       * Agrees steps, computes gather sizes and plans.
       */
      CoordinatorService: SubtypeConstructor<typeof grpc.Client, _ulysses_v1_CoordinatorServiceClient> & { service: _ulysses_v1_CoordinatorServiceDefinition }
      DType: EnumTypeDefinition
      DrainRequest: MessageTypeDefinition<_ulysses_v1_DrainRequest, _ulysses_v1_DrainRequest__Output>
      DrainResponse: MessageTypeDefinition<_ulysses_v1_DrainResponse, _ulysses_v1_DrainResponse__Output>
      EnterEpoch: MessageTypeDefinition<_ulysses_v1_EnterEpoch, _ulysses_v1_EnterEpoch__Output>
      Error: MessageTypeDefinition<_ulysses_v1_Error, _ulysses_v1_Error__Output>
      ExchangePlan: MessageTypeDefinition<_ulysses_v1_ExchangePlan, _ulysses_v1_ExchangePlan__Output>
      ExchangeSpec: MessageTypeDefinition<_ulysses_v1_ExchangeSpec, _ulysses_v1_ExchangeSpec__Output>
      ExchangeView: MessageTypeDefinition<_ulysses_v1_ExchangeView, _ulysses_v1_ExchangeView__Output>
      Failed: MessageTypeDefinition<_ulysses_v1_Failed, _ulysses_v1_Failed__Output>
      Finished: MessageTypeDefinition<_ulysses_v1_Finished, _ulysses_v1_Finished__Output>
      GetRankStatusRequest: MessageTypeDefinition<_ulysses_v1_GetRankStatusRequest, _ulysses_v1_GetRankStatusRequest__Output>
      GetRankStatusResponse: MessageTypeDefinition<_ulysses_v1_GetRankStatusResponse, _ulysses_v1_GetRankStatusResponse__Output>
      GetStatusRequest: MessageTypeDefinition<_ulysses_v1_GetStatusRequest, _ulysses_v1_GetStatusRequest__Output>
      GetStatusResponse: MessageTypeDefinition<_ulysses_v1_GetStatusResponse, _ulysses_v1_GetStatusResponse__Output>
      Keep: EnumTypeDefinition
      KvCachePolicy: EnumTypeDefinition
      Layout: EnumTypeDefinition
      Leave: MessageTypeDefinition<_ulysses_v1_Leave, _ulysses_v1_Leave__Output>
      Leaving: MessageTypeDefinition<_ulysses_v1_Leaving, _ulysses_v1_Leaving__Output>
      Mask: MessageTypeDefinition<_ulysses_v1_Mask, _ulysses_v1_Mask__Output>
      Party: MessageTypeDefinition<_ulysses_v1_Party, _ulysses_v1_Party__Output>
      Pass: EnumTypeDefinition
      PeerLost: MessageTypeDefinition<_ulysses_v1_PeerLost, _ulysses_v1_PeerLost__Output>
      Plan: MessageTypeDefinition<_ulysses_v1_Plan, _ulysses_v1_Plan__Output>
      PlanStepRequest: MessageTypeDefinition<_ulysses_v1_PlanStepRequest, _ulysses_v1_PlanStepRequest__Output>
      PlanStepResponse: MessageTypeDefinition<_ulysses_v1_PlanStepResponse, _ulysses_v1_PlanStepResponse__Output>
      Planned: MessageTypeDefinition<_ulysses_v1_Planned, _ulysses_v1_Planned__Output>
      Prepare: MessageTypeDefinition<_ulysses_v1_Prepare, _ulysses_v1_Prepare__Output>
      RankAddress: MessageTypeDefinition<_ulysses_v1_RankAddress, _ulysses_v1_RankAddress__Output>
      /**
       * Control port of one rank. Tensors travel on its TensorPlaneService.
       */
      RankService: SubtypeConstructor<typeof grpc.Client, _ulysses_v1_RankServiceClient> & { service: _ulysses_v1_RankServiceDefinition }
      RankStatus: MessageTypeDefinition<_ulysses_v1_RankStatus, _ulysses_v1_RankStatus__Output>
      Ready: MessageTypeDefinition<_ulysses_v1_Ready, _ulysses_v1_Ready__Output>
      Release: MessageTypeDefinition<_ulysses_v1_Release, _ulysses_v1_Release__Output>
      ReleaseRequest: MessageTypeDefinition<_ulysses_v1_ReleaseRequest, _ulysses_v1_ReleaseRequest__Output>
      ReleaseResponse: MessageTypeDefinition<_ulysses_v1_ReleaseResponse, _ulysses_v1_ReleaseResponse__Output>
      Role: EnumTypeDefinition
      RowRange: MessageTypeDefinition<_ulysses_v1_RowRange, _ulysses_v1_RowRange__Output>
      ScaleRequest: MessageTypeDefinition<_ulysses_v1_ScaleRequest, _ulysses_v1_ScaleRequest__Output>
      ScaleResponse: MessageTypeDefinition<_ulysses_v1_ScaleResponse, _ulysses_v1_ScaleResponse__Output>
      SettleStepRequest: MessageTypeDefinition<_ulysses_v1_SettleStepRequest, _ulysses_v1_SettleStepRequest__Output>
      SettleStepResponse: MessageTypeDefinition<_ulysses_v1_SettleStepResponse, _ulysses_v1_SettleStepResponse__Output>
      StepKey: MessageTypeDefinition<_ulysses_v1_StepKey, _ulysses_v1_StepKey__Output>
      StepSpec: MessageTypeDefinition<_ulysses_v1_StepSpec, _ulysses_v1_StepSpec__Output>
      StepTrace: MessageTypeDefinition<_ulysses_v1_StepTrace, _ulysses_v1_StepTrace__Output>
      StepView: MessageTypeDefinition<_ulysses_v1_StepView, _ulysses_v1_StepView__Output>
      StepsRequest: MessageTypeDefinition<_ulysses_v1_StepsRequest, _ulysses_v1_StepsRequest__Output>
      StepsResponse: MessageTypeDefinition<_ulysses_v1_StepsResponse, _ulysses_v1_StepsResponse__Output>
      Strategy: EnumTypeDefinition
      Tensor: EnumTypeDefinition
      TraceSpan: MessageTypeDefinition<_ulysses_v1_TraceSpan, _ulysses_v1_TraceSpan__Output>
      Vote: MessageTypeDefinition<_ulysses_v1_Vote, _ulysses_v1_Vote__Output>
      WatchMembershipRequest: MessageTypeDefinition<_ulysses_v1_WatchMembershipRequest, _ulysses_v1_WatchMembershipRequest__Output>
      WatchMembershipResponse: MessageTypeDefinition<_ulysses_v1_WatchMembershipResponse, _ulysses_v1_WatchMembershipResponse__Output>
    }
  }
}

