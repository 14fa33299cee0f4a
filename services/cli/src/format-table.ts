/** A heading; numbers are aligned to the right, text to the left. */
export interface Column {
  readonly title: string;
  readonly align: 'left' | 'right';
}

/** Lines of a table whose columns are as wide as their widest cell. Every row has one cell per column. */
export function formatTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const titles = columns.map(({ title }) => title);
  const widths = columns.map((_, at) => Math.max(...[titles, ...rows].map((row) => row[at]!.length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, at) =>
        columns[at]!.align === 'right' ? cell.padStart(widths[at]!) : cell.padEnd(widths[at]!),
      )
      .join('  ')
      .trimEnd();
  return [titles, ...rows].map(line).join('\n');
}
