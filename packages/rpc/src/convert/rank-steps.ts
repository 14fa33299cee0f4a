import { fieldError } from '@ulysses/errors';
import type { WireInput, WireOutput } from '../load-proto.js';
import type { Prepare, RankCommand, RankEvent, TermedCommand } from '../messages.js';
import { errorFromProto, errorToProto } from './error.js';
import { required } from './fields.js';
import { operationPlanFromProto, operationPlanToProto } from './operation-plan.js';
import { keep, kvCachePolicy } from './plan-step.js';
import { rankAddressToProto, rankAddressesFromProto } from './rank-address.js';
import {
  optionalStepKeyFromProto,
  optionalStepKeyToProto,
  stepKeyFromProto,
  stepKeyToProto,
} from './step-key.js';

export function rankCommandToProto(command: TermedCommand): WireInput<'StepsRequest'> {
  return { ...bareCommandToProto(command), term: command.term };
}

export function rankCommandFromProto(message: WireOutput<'StepsRequest'>, path: string): TermedCommand {
  return { ...bareCommandFromProto(message, path), term: message.term };
}

function bareCommandToProto(command: RankCommand): WireInput<'StepsRequest'> {
  switch (command.kind) {
    case 'enter-epoch':
      return { enterEpoch: { epoch: command.epoch, ranks: command.ranks.map(rankAddressToProto) } };
    case 'prepare':
      return { prepare: prepareToProto(command) };
    case 'abort':
      return { abort: { step: stepKeyToProto(command.step), cause: errorToProto(command.cause) } };
    case 'commit':
      return { commit: { step: stepKeyToProto(command.step) } };
    case 'release':
      return { release: { step: stepKeyToProto(command.step) } };
    case 'leave':
      return { leave: {} };
  }
}

function bareCommandFromProto(message: WireOutput<'StepsRequest'>, path: string): RankCommand {
  switch (message.command) {
    case 'enterEpoch': {
      const { epoch, ranks } = required(message.enterEpoch, `${path}.enter_epoch`, 'EnterEpoch');
      return {
        kind: 'enter-epoch',
        epoch,
        ranks: rankAddressesFromProto(ranks, `${path}.enter_epoch.ranks`),
      };
    }
    case 'prepare':
      return prepareFromProto(required(message.prepare, `${path}.prepare`, 'Prepare'), `${path}.prepare`);
    case 'abort': {
      const { step, cause } = required(message.abort, `${path}.abort`, 'Abort');
      return {
        kind: 'abort',
        step: stepKeyFromProto(step, `${path}.abort.step`),
        cause: errorFromProto(cause, `${path}.abort.cause`),
      };
    }
    case 'commit':
    case 'release': {
      const { command: kind } = message;
      const { step } = required(message[kind], `${path}.${kind}`, kind);
      return { kind, step: stepKeyFromProto(step, `${path}.${kind}.step`) };
    }
    case 'leave':
      return { kind: 'leave' };
    case undefined:
      throw fieldError(
        'UNSUPPORTED',
        `${path}.command`,
        'none of those we know',
        'enter_epoch, prepare, abort, commit, release or leave',
      );
  }
}

function prepareToProto(prepare: Prepare): WireInput<'Prepare'> {
  return {
    epoch: prepare.epoch,
    step: stepKeyToProto(prepare.step),
    ...operationPlanToProto(prepare.plan),
    keep: keep.toProto(prepare.keep, 'Prepare.keep'),
    kvCachePolicy: kvCachePolicy.toProto(prepare.kvCachePolicy, 'Prepare.kv_cache_policy'),
    forward: optionalStepKeyToProto(prepare.forward),
    ownerCount: prepare.ownerCount,
    releaseForward: prepare.releaseForward,
    directOwners: [...prepare.directOwners],
  };
}

function prepareFromProto(message: WireOutput<'Prepare'>, path: string): Prepare {
  return {
    kind: 'prepare',
    epoch: message.epoch,
    step: stepKeyFromProto(message.step, `${path}.step`),
    plan: operationPlanFromProto(message, path),
    keep: keep.fromProto(message.keep, `${path}.keep`),
    kvCachePolicy: kvCachePolicy.fromProto(message.kvCachePolicy, `${path}.kv_cache_policy`),
    forward: optionalStepKeyFromProto(message.forward, `${path}.forward`),
    ownerCount: message.ownerCount,
    releaseForward: message.releaseForward,
    directOwners: message.directOwners,
  };
}

export function rankEventToProto(event: RankEvent): WireInput<'StepsResponse'> {
  switch (event.kind) {
    case 'ready':
      return { ready: { epoch: event.epoch } };
    case 'vote': {
      const refusal = event.refusal === null ? null : errorToProto(event.refusal);
      return { vote: { step: stepKeyToProto(event.step), refusal } };
    }
    case 'finished':
      return { finished: { step: stepKeyToProto(event.step) } };
    case 'failed':
      return { failed: { step: stepKeyToProto(event.step), error: errorToProto(event.error) } };
    case 'peer-lost': {
      const { epoch, rank, member, reason } = event;
      return { peerLost: { epoch, rank, member, reason } };
    }
    case 'leaving':
      return { leaving: {} };
  }
}

export function rankEventFromProto(message: WireOutput<'StepsResponse'>, path: string): RankEvent {
  switch (message.event) {
    case 'ready':
      return { kind: 'ready', epoch: required(message.ready, `${path}.ready`, 'Ready').epoch };
    case 'vote': {
      const { step, refusal } = required(message.vote, `${path}.vote`, 'Vote');
      return {
        kind: 'vote',
        step: stepKeyFromProto(step, `${path}.vote.step`),
        refusal: refusal === null ? null : errorFromProto(refusal, `${path}.vote.refusal`),
      };
    }
    case 'finished': {
      const { step } = required(message.finished, `${path}.finished`, 'Finished');
      return { kind: 'finished', step: stepKeyFromProto(step, `${path}.finished.step`) };
    }
    case 'failed': {
      const { step, error } = required(message.failed, `${path}.failed`, 'Failed');
      return {
        kind: 'failed',
        step: stepKeyFromProto(step, `${path}.failed.step`),
        error: errorFromProto(error, `${path}.failed.error`),
      };
    }
    case 'peerLost': {
      const { epoch, rank, member, reason } = required(message.peerLost, `${path}.peer_lost`, 'PeerLost');
      return { kind: 'peer-lost', epoch, rank, member, reason };
    }
    case 'leaving':
      return { kind: 'leaving' };
    case undefined:
      throw fieldError(
        'UNSUPPORTED',
        `${path}.event`,
        'none of those we know',
        'ready, vote, finished, failed, peer_lost or leaving',
      );
  }
}
