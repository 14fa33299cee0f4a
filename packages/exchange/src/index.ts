export {
  ExchangePlane,
  TRANSPORTS,
  stepIdentity,
  stepName,
  type ExchangePlaneOptions,
  type Transport,
} from './exchange-plane.js';
export { StepChannel } from './step-channel.js';
export {
  ROUTES,
  ownerLinkName,
  ownerParty,
  rankLinkName,
  rankParty,
  relayOf,
  type RouteChoice,
} from './party.js';
export {
  backwardReturns,
  backwardSends,
  forwardReturns,
  forwardSends,
  ownerBytes,
  ownerExchange,
  segmentOffsets,
  type OwnerExchange,
  type PartialSums,
  type Send,
} from './sequence-owner.js';
export {
  copyBox,
  exchangeReceives,
  exchangeSends,
  foldExchange,
  keepOwn,
  keepOwnPartial,
  partialBytes,
  partialReceives,
} from './tensor-exchange.js';
export { foldGradients, foldRuns } from './fold-partials.js';
export {
  backwardReceives,
  forwardReceives,
  relayBytes,
  sendBackwardInterval,
  sendBackwardUnit,
  sendForwardUnit,
  unitExchange,
  unitOwnerSendBytes,
  type UnitExchange,
} from './unit-owner.js';
export {
  allocateBackward,
  allocateForward,
  completeMemory,
  freeMemory,
  keepMemory,
  kvRows,
  unitLse,
  unitRows,
  type BackwardMemory,
  type ForwardMemory,
  type KeptMemory,
  type UnitPlaces,
} from './unit-places.js';
