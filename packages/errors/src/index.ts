export {
  UlyssesError,
  fieldError,
  invariant,
  toUlyssesError,
  describe,
  type ErrorDetails,
} from './ulysses-error.js';
export { ERROR_TABLE, isErrorCode, type ErrorCode } from './codes.js';
