// Original file: proto/ulysses/v1/tensor.proto

export const Tensor = {
  TENSOR_UNSPECIFIED: 'TENSOR_UNSPECIFIED',
  TENSOR_Q: 'TENSOR_Q',
  TENSOR_K: 'TENSOR_K',
  TENSOR_V: 'TENSOR_V',
  TENSOR_OUT: 'TENSOR_OUT',
  TENSOR_LSE: 'TENSOR_LSE',
  TENSOR_DOUT: 'TENSOR_DOUT',
  TENSOR_DQ: 'TENSOR_DQ',
  /**
   * Partial sums of one rank, float32 whatever the step's dtype.
   */
  TENSOR_DK: 'TENSOR_DK',
  TENSOR_DV: 'TENSOR_DV',
  /**
   * A tensor of any shape, in an exchange alone.
   */
  TENSOR_EXCHANGED: 'TENSOR_EXCHANGED',
} as const;

export type Tensor =
  | 'TENSOR_UNSPECIFIED'
  | 0
  | 'TENSOR_Q'
  | 1
  | 'TENSOR_K'
  | 2
  | 'TENSOR_V'
  | 3
  | 'TENSOR_OUT'
  | 4
  | 'TENSOR_LSE'
  | 5
  | 'TENSOR_DOUT'
  | 6
  | 'TENSOR_DQ'
  | 7
  /**
   * Partial sums of one rank, float32 whatever the step's dtype.
   */
  | 'TENSOR_DK'
  | 8
  | 'TENSOR_DV'
  | 9
  /**
   * A tensor of any shape, in an exchange alone.
   */
  | 'TENSOR_EXCHANGED'
  | 10

export type Tensor__Output = typeof Tensor[keyof typeof Tensor]
