export { DTYPES, elementBytes, parseDType, type DType } from './dtype.js';
export {
  LAYOUTS,
  elementCount,
  parseLayout,
  rowStrides,
  type Extents,
  type Layout,
  type RowStrides,
} from './layout.js';
export { bf16ToNumber, decodeElements, encodeElements, f16ToNumber, toBf16, toF16 } from './element-bits.js';
