import { Counter, Gauge, Registry, collectDefaultMetrics } from 'prom-client';

export type Labels = Readonly<Record<string, string>>;

/** One value of a metric that is read when somebody asks. */
export interface Sample {
  readonly labels?: Labels;
  readonly value: number;
}

export interface Measured {
  /** `ulysses_…` in base units: `_total` for counters, `_seconds`, `_bytes`. */
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
}

/** Of Node.js's own: names that break Prometheus's conventions, since they are no counters. */
const MISNAMED = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];

/** What one process measures, as Prometheus reads it: its own metrics, and memory, descriptors and CPU seconds. */
export class Metrics {
  readonly #registry = new Registry();

  constructor() {
    collectDefaultMetrics({ register: this.#registry });
    for (const name of MISNAMED) this.#registry.removeSingleMetric(name);
  }

  /** A sum that only grows; returns how to add to it. */
  counter({ name, help, labels = [] }: Measured): (labels: Labels, amount: number) => void {
    const counter = new Counter({ name, help, labelNames: labels, registers: [this.#registry] });
    return (of, amount) => {
      counter.inc(of, amount);
    };
  }

  /** A sum that another part keeps; `read` must not throw. */
  sum({ name, help, labels = [] }: Measured, read: () => readonly Sample[]): void {
    const counter = new Counter({
      name,
      help,
      labelNames: labels,
      registers: [this.#registry],
      collect: () => {
        counter.reset();
        for (const { labels: of = {}, value } of read()) counter.inc(of, value);
      },
    });
  }

  /** What is so now; `read` must not throw or reject. */
  gauge(
    { name, help, labels = [] }: Measured,
    read: () => number | readonly Sample[] | Promise<readonly Sample[]>,
  ): void {
    const gauge = new Gauge({
      name,
      help,
      labelNames: labels,
      registers: [this.#registry],
      collect: async () => {
        const now = await read();
        gauge.reset();
        for (const { labels: of = {}, value } of typeof now === 'number' ? [{ value: now }] : now) {
          gauge.set(of, value);
        }
      },
    });
  }

  /** All of it in Prometheus's text format. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  /** Of `text`. */
  get contentType(): string {
    return this.#registry.contentType;
  }
}
