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
export {
  helpText,
  resolveConfig,
  type Check,
  type Config,
  type ConfigSources,
  type Options,
} from './config.js';
export {
  bytesOption,
  choiceOption,
  durationOption,
  fileOption,
  integerOption,
  stringOption,
  switchOption,
  type Option,
} from './options.js';
export { deadlineSignal, delay, linkSignals, onAbort, orAborted, type ScopedSignal } from './deadline.js';
export { advertisedAddress } from './advertise.js';
export { AsyncQueue } from './async-queue.js';
export { Deferred } from './deferred.js';
export { optimizeEarly } from './optimize-early.js';
export { Metrics, type Labels, type Measured, type Sample } from './metrics/metrics.js';
export { METRICS_OPTION } from './metrics/metrics-option.js';
export { serveMetrics, type MetricsServer, type ServeMetricsOptions } from './metrics/serve-metrics.js';
export {
  CONNECTION_OPTIONS,
  LEAST_SILENT_PEER_MS,
  SILENT_PEER_MS,
  SLOW_CLIENT_OPTION,
  connectionOptionsOf,
  requirePrivate,
  requirePrivateSetting,
  type ConnectionOptions,
  type ConnectionSettings,
} from './connection.js';
export { tlsFilesOf, type TlsFiles } from './tls.js';
export { Traces, type Span, type TraceOf } from './traces.js';
