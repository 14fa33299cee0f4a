// Original file: proto/ulysses/v1/coordinator.proto

import type { DType as _ulysses_v1_DType, DType__Output as _ulysses_v1_DType__Output } from '../../ulysses/v1/DType.js';
import type { Layout as _ulysses_v1_Layout, Layout__Output as _ulysses_v1_Layout__Output } from '../../ulysses/v1/Layout.js';
import type { Mask as _ulysses_v1_Mask, Mask__Output as _ulysses_v1_Mask__Output } from '../../ulysses/v1/Mask.js';
import type { Strategy as _ulysses_v1_Strategy, Strategy__Output as _ulysses_v1_Strategy__Output } from '../../ulysses/v1/Strategy.js';
import type { Keep as _ulysses_v1_Keep, Keep__Output as _ulysses_v1_Keep__Output } from '../../ulysses/v1/Keep.js';
import type { KvCachePolicy as _ulysses_v1_KvCachePolicy, KvCachePolicy__Output as _ulysses_v1_KvCachePolicy__Output } from '../../ulysses/v1/KvCachePolicy.js';
import type { Long } from '@grpc/proto-loader';

/**
 * The step as one sequence owner sees it.
 */
export interface StepView {
  'dtype'?: (_ulysses_v1_DType);
  'layout'?: (_ulysses_v1_Layout);
  'batch'?: (number);
  'qHeads'?: (number);
  'kvHeads'?: (number);
  'headSize'?: (number);
  /**
   * Rows of this owner's shard, before any gather size is applied.
   */
  'qRows'?: (number | string | Long);
  'kvRows'?: (number | string | Long);
  /**
   * valid_kv may come without valid_q, of a mask of keys: which rows are padding is for the coordinator to say, which knows all
   * shards. Where there are as many queries as keys, those at the places of padding keys; else none.
   */
  'mask'?: (_ulysses_v1_Mask | null);
  'scale'?: (number | string);
  /**
   * Unspecified: whole heads where they divide, balanced otherwise.
   */
  'strategy'?: (_ulysses_v1_Strategy);
  'keep'?: (_ulysses_v1_Keep);
  /**
   * Attention-mask lengths per sample, if the batch has them.
   */
  'attentionMaskLengths'?: (number | string | Long)[];
  /**
   * Last dimension of an attention-mask tensor, if the batch has one.
   */
  'attentionMaskExtent'?: (number | string | Long);
  /**
   * Result of a calculator that ran in the client.
   */
  'gatherSizeQ'?: (number | string | Long);
  'gatherSizeKv'?: (number | string | Long);
  /**
   * Which calculator the coordinator uses when the client ran none: `default`, `dynamic` or `custom`; empty: the coordinator's own.
   */
  'gatherSizeCalculator'?: (string);
  /**
   * `kwargs` for a custom calculator, as JSON; reaches `calculate` untouched.
   */
  'calculatorArgumentsJson'?: (string);
  /**
   * Unspecified: the cluster's default. Half and full align the exchange, whatever the calculator says.
   */
  'kvCachePolicy'?: (_ulysses_v1_KvCachePolicy);
  /**
   * With policy auto: most bytes that one rank may keep of this forward. Absent: the cluster's default.
   */
  'kvCacheBudgetBytes'?: (number | string | Long);
  /**
   * The exchange stays as the calculator says with policies half and full too.
   */
  'kvCachePolicyUnaligned'?: (boolean);
  /**
   * Name of the calculator that ran in the client, whose answers gather_size_q and gather_size_kv are; absent sizes then mean
   * an aligned exchange. Empty: absent sizes are the coordinator's to find.
   */
  'clientCalculator'?: (string);
  '_attentionMaskExtent'?: "attentionMaskExtent";
  '_gatherSizeQ'?: "gatherSizeQ";
  '_gatherSizeKv'?: "gatherSizeKv";
  '_kvCacheBudgetBytes'?: "kvCacheBudgetBytes";
}

/**
 * The step as one sequence owner sees it.
 */
export interface StepView__Output {
  'dtype': (_ulysses_v1_DType__Output);
  'layout': (_ulysses_v1_Layout__Output);
  'batch': (number);
  'qHeads': (number);
  'kvHeads': (number);
  'headSize': (number);
  /**
   * Rows of this owner's shard, before any gather size is applied.
   */
  'qRows': (number);
  'kvRows': (number);
  /**
   * valid_kv may come without valid_q, of a mask of keys: which rows are padding is for the coordinator to say, which knows all
   * shards. Where there are as many queries as keys, those at the places of padding keys; else none.
   */
  'mask': (_ulysses_v1_Mask__Output | null);
  'scale': (number);
  /**
   * Unspecified: whole heads where they divide, balanced otherwise.
   */
  'strategy': (_ulysses_v1_Strategy__Output);
  'keep': (_ulysses_v1_Keep__Output);
  /**
   * Attention-mask lengths per sample, if the batch has them.
   */
  'attentionMaskLengths': (number)[];
  /**
   * Last dimension of an attention-mask tensor, if the batch has one.
   */
  'attentionMaskExtent'?: (number);
  /**
   * Result of a calculator that ran in the client.
   */
  'gatherSizeQ'?: (number);
  'gatherSizeKv'?: (number);
  /**
   * Which calculator the coordinator uses when the client ran none: `default`, `dynamic` or `custom`; empty: the coordinator's own.
   */
  'gatherSizeCalculator': (string);
  /**
   * `kwargs` for a custom calculator, as JSON; reaches `calculate` untouched.
   */
  'calculatorArgumentsJson': (string);
  /**
   * Unspecified: the cluster's default. Half and full align the exchange, whatever the calculator says.
   */
  'kvCachePolicy': (_ulysses_v1_KvCachePolicy__Output);
  /**
   * With policy auto: most bytes that one rank may keep of this forward. Absent: the cluster's default.
   */
  'kvCacheBudgetBytes'?: (number);
  /**
   * The exchange stays as the calculator says with policies half and full too.
   */
  'kvCachePolicyUnaligned': (boolean);
  /**
   * Name of the calculator that ran in the client, whose answers gather_size_q and gather_size_kv are; absent sizes then mean
   * an aligned exchange. Empty: absent sizes are the coordinator's to find.
   */
  'clientCalculator': (string);
  '_attentionMaskExtent'?: "attentionMaskExtent";
  '_gatherSizeQ'?: "gatherSizeQ";
  '_gatherSizeKv'?: "gatherSizeKv";
  '_kvCacheBudgetBytes'?: "kvCacheBudgetBytes";
}
