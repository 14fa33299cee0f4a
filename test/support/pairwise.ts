/** One value of a factor, or a family of values: what it is called, and which cases have it. */
export interface Level<Case> {
  readonly name: string;
  readonly has: (testCase: Case) => boolean;
}

/** Every factor of a test with its levels. */
export type Factors<Case> = Readonly<Record<string, readonly Level<Case>[]>>;

/** Two levels of different factors, as `factor level`. */
export type LevelPair = readonly [string, string];

/**
 * The pairs of levels that no case has. A pair that cannot exist (`impossible`) is not missing; a pair said to be
 * impossible that a case has all the same is an error in the test.
 */
export function missingPairs<Case>(
  factors: Factors<Case>,
  cases: readonly Case[],
  impossible: (pair: LevelPair) => boolean,
): LevelPair[] {
  const entries = Object.entries(factors);
  const missing: LevelPair[] = [];
  entries.forEach(([factor, levels], i) => {
    for (const [otherFactor, otherLevels] of entries.slice(i + 1)) {
      for (const level of levels) {
        for (const other of otherLevels) {
          const pair: LevelPair = [`${factor} ${level.name}`, `${otherFactor} ${other.name}`];
          const covered = cases.some((testCase) => level.has(testCase) && other.has(testCase));
          if (covered && impossible(pair))
            throw new Error(`${pair.join(' with ')} is called impossible but exists`);
          if (!covered && !impossible(pair)) missing.push(pair);
        }
      }
    }
  });
  return missing;
}
