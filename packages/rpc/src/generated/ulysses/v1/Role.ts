// Original file: proto/ulysses/v1/tensor.proto

export const Role = {
  ROLE_UNSPECIFIED: 'ROLE_UNSPECIFIED',
  /**
   * Computes units.
   */
  ROLE_RANK: 'ROLE_RANK',
  /**
   * Holds rows of every head (a sequence owner).
   */
  ROLE_OWNER: 'ROLE_OWNER',
} as const;

export type Role =
  | 'ROLE_UNSPECIFIED'
  | 0
  /**
   * Computes units.
   */
  | 'ROLE_RANK'
  | 1
  /**
   * Holds rows of every head (a sequence owner).
   */
  | 'ROLE_OWNER'
  | 2

export type Role__Output = typeof Role[keyof typeof Role]
