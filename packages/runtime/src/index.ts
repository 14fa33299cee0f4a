export {
  createLogger,
  LOG_LEVELS,
  type LogFields,
  type LogLevel,
  type Logger,
  type LoggerOptions,
} from './logger.js';
export { handleShutdown, type Closer, type Shutdown, type ShutdownOptions } from './shutdown.js';
export { watchLauncher } from './orphan.js';
export { helpText, resolveConfig, type Config, type ConfigSources, type Options } from './config.js';
export {
  bytesOption,
  choiceOption,
  durationOption,
  integerOption,
  stringOption,
  switchOption,
  type Option,
} from './options.js';
export { deadlineSignal, delay, linkSignals, orAborted, type ScopedSignal } from './deadline.js';
export { advertisedAddress } from './advertise.js';
export { AsyncQueue } from './async-queue.js';
export { Deferred } from './deferred.js';
