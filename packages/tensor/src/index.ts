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
