import { stringOption } from '../options.js';

/** `--metrics` of every service. */
export const METRICS_OPTION = {
  metrics: stringOption({
    flag: 'metrics',
    env: 'ULYSSES_METRICS',
    valueName: 'HOST:PORT',
    default: null,
    help: 'Answers /metrics for Prometheus, and probes such as /healthz and /readyz, over HTTP; 0 takes a free port; none: no such port.',
  }),
};
