// Original file: proto/ulysses/v1/rank.proto

import type { Ready as _ulysses_v1_Ready, Ready__Output as _ulysses_v1_Ready__Output } from '../../ulysses/v1/Ready.js';
import type { Vote as _ulysses_v1_Vote, Vote__Output as _ulysses_v1_Vote__Output } from '../../ulysses/v1/Vote.js';
import type { Finished as _ulysses_v1_Finished, Finished__Output as _ulysses_v1_Finished__Output } from '../../ulysses/v1/Finished.js';
import type { Failed as _ulysses_v1_Failed, Failed__Output as _ulysses_v1_Failed__Output } from '../../ulysses/v1/Failed.js';
import type { PeerLost as _ulysses_v1_PeerLost, PeerLost__Output as _ulysses_v1_PeerLost__Output } from '../../ulysses/v1/PeerLost.js';
import type { Leaving as _ulysses_v1_Leaving, Leaving__Output as _ulysses_v1_Leaving__Output } from '../../ulysses/v1/Leaving.js';

export interface StepsResponse {
  'ready'?: (_ulysses_v1_Ready | null);
  'vote'?: (_ulysses_v1_Vote | null);
  'finished'?: (_ulysses_v1_Finished | null);
  'failed'?: (_ulysses_v1_Failed | null);
  'peerLost'?: (_ulysses_v1_PeerLost | null);
  'leaving'?: (_ulysses_v1_Leaving | null);
  'event'?: "ready"|"vote"|"finished"|"failed"|"peerLost"|"leaving";
}

export interface StepsResponse__Output {
  'ready'?: (_ulysses_v1_Ready__Output | null);
  'vote'?: (_ulysses_v1_Vote__Output | null);
  'finished'?: (_ulysses_v1_Finished__Output | null);
  'failed'?: (_ulysses_v1_Failed__Output | null);
  'peerLost'?: (_ulysses_v1_PeerLost__Output | null);
  'leaving'?: (_ulysses_v1_Leaving__Output | null);
  'event'?: "ready"|"vote"|"finished"|"failed"|"peerLost"|"leaving";
}
