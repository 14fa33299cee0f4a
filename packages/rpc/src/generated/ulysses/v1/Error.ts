// Original file: proto/ulysses/v1/tensor.proto


/**
 * A typed failure: code of the closed error table, and the fields its message was built from.
 */
export interface Error {
  'code'?: (string);
  'message'?: (string);
  /**
   * Plain fields: field, value, expected, peer and others, as text.
   */
  'details'?: ({[key: string]: string});
}

/**
 * A typed failure: code of the closed error table, and the fields its message was built from.
 */
export interface Error__Output {
  'code': (string);
  'message': (string);
  /**
   * Plain fields: field, value, expected, peer and others, as text.
   */
  'details': ({[key: string]: string});
}
