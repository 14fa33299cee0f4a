// Original file: proto/ulysses/v1/tensor.proto

export const Pass = {
  PASS_UNSPECIFIED: 'PASS_UNSPECIFIED',
  PASS_FORWARD: 'PASS_FORWARD',
  PASS_BACKWARD: 'PASS_BACKWARD',
} as const;

export type Pass =
  | 'PASS_UNSPECIFIED'
  | 0
  | 'PASS_FORWARD'
  | 1
  | 'PASS_BACKWARD'
  | 2

export type Pass__Output = typeof Pass[keyof typeof Pass]
