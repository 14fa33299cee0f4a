/** One word after `ulysses`. */
export interface Command {
  /** One line for the list of commands. */
  readonly summary: string;
  /** What `--help` prints; null: the service that is started prints its own. */
  readonly help: string | null;
  /** Returns the exit code; `argv` is what follows the word. */
  run(argv: readonly string[]): Promise<number>;
}
