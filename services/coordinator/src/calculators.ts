import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { UlyssesError, fieldError, toUlyssesError } from '@ulysses/errors';
import {
  DefaultGatherSizeCalculator,
  DynamicGatherSizeCalculator,
  type GatherSizeCalculator,
} from '@ulysses/plan';
import type { StepView } from '@ulysses/rpc';

/** The gather-size calculators that this coordinator has. Custom ones are loaded once, at start. */
export class Calculators {
  readonly #byName: ReadonlyMap<string, GatherSizeCalculator>;
  readonly #own: GatherSizeCalculator;

  private constructor(byName: ReadonlyMap<string, GatherSizeCalculator>, own: GatherSizeCalculator) {
    this.#byName = byName;
    this.#own = own;
  }

  /**
   * `choice` is `default`, `dynamic` or the path of a module that exports `gatherSizeCalculator` (or a default), an
   * object or class with `calculate`, or `calculate` itself. CONFIG when it cannot be loaded.
   */
  static async load(choice: string): Promise<Calculators> {
    const byName = new Map<string, GatherSizeCalculator>([
      ['default', new DefaultGatherSizeCalculator()],
      ['dynamic', new DynamicGatherSizeCalculator()],
    ]);
    const known = byName.get(choice);
    if (known !== undefined) return new Calculators(byName, known);
    const custom = await loadModule(choice);
    byName.set('custom', custom);
    return new Calculators(byName, custom);
  }

  /** The calculator that a step uses when its client ran none. */
  of({ gatherSizeCalculator }: StepView): GatherSizeCalculator {
    if (gatherSizeCalculator === null) return this.#own;
    const found = this.#byName.get(gatherSizeCalculator);
    if (found === undefined) {
      throw fieldError(
        'UNSUPPORTED',
        'gather_size_calculator',
        gatherSizeCalculator,
        `one of ${[...this.#byName.keys()].join(', ')}; a custom one is given to the coordinator with --gather-size-calculator PATH`,
      );
    }
    return found;
  }

  /** True when shards must be equal because nothing says how long the gathered sequence is. */
  isAligned(view: StepView): boolean {
    if (view.clientCalculator !== null) return view.gatherSizeQ === null && view.gatherSizeKv === null;
    return view.gatherSizeQ === null && this.of(view) instanceof DefaultGatherSizeCalculator;
  }
}

async function loadModule(path: string): Promise<GatherSizeCalculator> {
  const invalid = (reason: string, cause?: unknown): UlyssesError =>
    new UlyssesError(
      'CONFIG',
      `--gather-size-calculator ${path}: ${reason}`,
      { field: 'gather-size-calculator', value: path },
      cause,
    );
  let exported: unknown;
  try {
    const module = (await import(pathToFileURL(resolve(path)).href)) as Record<string, unknown>;
    exported = module['gatherSizeCalculator'] ?? module['default'] ?? module;
  } catch (thrown) {
    throw invalid(
      `expected default, dynamic or the path of a module; loading it failed: ${toUlyssesError(thrown).message}`,
      thrown,
    );
  }
  const instance: unknown =
    typeof exported === 'function' ? construct(exported as new () => unknown, invalid) : exported;
  if (!isCalculator(instance)) {
    throw invalid(
      'expected an export `gatherSizeCalculator` (or a default, or the module) with a method `calculate`',
    );
  }
  return instance;
}

function construct(
  exported: new () => unknown,
  invalid: (reason: string, cause?: unknown) => UlyssesError,
): unknown {
  try {
    return new exported();
  } catch (thrown) {
    throw invalid(`its constructor threw: ${toUlyssesError(thrown).message}`, thrown);
  }
}

function isCalculator(value: unknown): value is GatherSizeCalculator {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as { calculate?: unknown }).calculate === 'function'
  );
}
