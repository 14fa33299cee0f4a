export { ExchangePlane, stepIdentity, stepName, type ExchangePlaneOptions } from './exchange-plane.js';
export { SHARED_BYTES, TRANSPORTS, type Transport } from '@ulysses/native';
export { StepChannel, type Direction } from './step-channel.js';
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
export { finalKeys } from './arrivals.js';
export { foldGradients, foldRuns } from './fold-partials.js';
export {
  backwardGranuleSends,
  backwardReceives,
  forwardGranuleSends,
  forwardReceives,
  keyGradientSends,
  relayBytes,
  unitExchange,
  unitOwnerSendBytes,
  type UnitExchange,
} from './unit-owner.js';
export {
  allocateBackward,
  allocateForward,
  completeMemory,
  freeMemory,
  granuleKeys,
  granuleLse,
  granuleRows,
  keepMemory,
  type BackwardMemory,
  type ForwardMemory,
  type KeptMemory,
  type UnitPlaces,
} from './unit-places.js';
