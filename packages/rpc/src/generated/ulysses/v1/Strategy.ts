// Original file: proto/ulysses/v1/plan.proto

export const Strategy = {
  STRATEGY_UNSPECIFIED: 'STRATEGY_UNSPECIFIED',
  STRATEGY_HEADS: 'STRATEGY_HEADS',
  STRATEGY_BALANCED: 'STRATEGY_BALANCED',
} as const;

export type Strategy =
  | 'STRATEGY_UNSPECIFIED'
  | 0
  | 'STRATEGY_HEADS'
  | 1
  | 'STRATEGY_BALANCED'
  | 2

export type Strategy__Output = typeof Strategy[keyof typeof Strategy]
